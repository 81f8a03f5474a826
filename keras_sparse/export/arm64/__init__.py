"""Running files on an ARM64 processor, a real or an emulated one."""

from keras_sparse.export.arm64.run import Arm64Job as Arm64Job
from keras_sparse.export.arm64.run import is_available as is_available
from keras_sparse.export.arm64.run import run_on_arm64 as run_on_arm64
