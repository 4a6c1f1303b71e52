"""Measure the schedules of `d1.tuning` on the RTL and write the file that the compiler reads."""

from d1 import open_device
from d1.compiler.choice import MEASURED, best
from d1.tuning import PRODUCTS, measure_product, write_figures

if __name__ == "__main__":
    measured = []
    for name, product in PRODUCTS.items():
        with open_device("rtl", product.params.name) as device:
            figures = measure_product(device, product)
        measured.append((product, figures))
        cycles = min(figure["cycles"] for figure in figures)
        print(f"{name}: {len(figures)} schedules, at best {cycles} cycles by {best(figures)}")
    write_figures(measured, MEASURED)
