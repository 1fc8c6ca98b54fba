"""From what users bring (Keras 3, tf_keras, files) to a `LayerGraph` of float32."""
