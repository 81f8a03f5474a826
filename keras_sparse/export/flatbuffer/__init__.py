"""Reading and changing what a `.tflite` file holds."""
