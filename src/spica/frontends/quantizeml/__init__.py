"""Networks that quantizeml quantised, from Keras and ONNX files."""
