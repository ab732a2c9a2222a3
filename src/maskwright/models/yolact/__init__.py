"""YOLACT and YOLACT++ (Bolya et al. 2019, 2020): prototypes for the image, coefficients for each object."""
