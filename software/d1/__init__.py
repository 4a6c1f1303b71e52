"""The runtime of the D1 machine: devices, operators and the way in from PyTorch.

>>> import d1, ml_dtypes, numpy as np
>>> a = np.ones((3, 5), ml_dtypes.bfloat16)
>>> d1.matmul(a, a.T, device="golden", preset="tiny")[0, 0]
np.float32(5.0)

`d1.open` gives a device of one's own, or the mesh of a die; `import d1.torch` registers the
operator `d1::matmul` and the `torch.compile` backend "d1" (which PyTorch finds by itself where this
package is installed).
"""

from d1_golden.numerics import Cfp8Config, Cfp8Format

from d1.device import Call, Device, ThreadState, open_device
from d1.errors import AccessError, CycleLimitError, DeviceError, KernelFault, SramOverflowError
from d1.fabric.mesh import Mesh
from d1.opening import open
from d1.operands import Cfp8Array
from d1.operators import matmul, sgemm

__all__ = [
    "AccessError",
    "Call",
    "Cfp8Array",
    "Cfp8Config",
    "Cfp8Format",
    "CycleLimitError",
    "Device",
    "DeviceError",
    "KernelFault",
    "Mesh",
    "SramOverflowError",
    "ThreadState",
    "matmul",
    "open",
    "open_device",
    "sgemm",
]
