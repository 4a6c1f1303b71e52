"""The executable specification of the D1 machine: parameters, ISA, packets, formats and models."""
