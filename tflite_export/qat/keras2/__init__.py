"""What runs in the worker: tf_keras and TFMOT, nothing of Keras 3."""
