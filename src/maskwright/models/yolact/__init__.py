"""YOLACT and YOLACT++ (Bolya et al. 2019, 2020): prototypes for the image, coefficients for each object.

The losses that the authors' code offers but none of its released models uses are left out: focal and objectness
losses, class existence, diversity of coefficients, penalties on prototypes, and masks without prototypes.
"""
