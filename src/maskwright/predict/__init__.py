"""From images to instances, and to numbers that say how good they are."""
