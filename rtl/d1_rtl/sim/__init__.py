"""From an Amaranth component to a running Verilated model: build cache, native driver, cocotb."""
