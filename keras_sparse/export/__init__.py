"""Export to LiteRT, read the file back, and time it."""

from keras_sparse.export.flatbuffer.tflite_file import TFLiteFile as TFLiteFile
from keras_sparse.export.flatbuffer.tflite_file import (
    read_tflite as read_tflite,
)
from keras_sparse.export.report import ExportReport as ExportReport
from keras_sparse.export.tflite import export_tflite as export_tflite
from keras_sparse.export.timing.benchmark import (
    BenchmarkResult as BenchmarkResult,
)
from keras_sparse.export.timing.benchmark import (
    benchmark_tflite as benchmark_tflite,
)
from keras_sparse.export.xnnpack.rules import XNNPACKReport as XNNPACKReport
from keras_sparse.export.xnnpack.rules import xnnpack_report as xnnpack_report
from keras_sparse.export.xnnpack.sparse_ready import (
    sparse_ready as sparse_ready,
)
