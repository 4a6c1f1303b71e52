"""From the shape of a product to programs and data for a node.

`schedule` decides how a product is walked through, `gemm` writes the program for it, `layout`
arranges the operands as that program reads them, `tiling` cuts what does not fit SRAM, and `cache`
keeps programs.
"""
