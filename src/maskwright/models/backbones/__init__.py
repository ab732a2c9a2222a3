"""Networks from pixels to feature maps at strides 4 to 32."""
