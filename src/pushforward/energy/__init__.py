"""Models p = exp(-f)/Z: their sampling, and their normalising constant with error bars."""
