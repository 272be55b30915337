"""The solver in a training loop of one's own, with TensorFlow.

    python examples/own_training_loop.py [--epochs 30]

Around the optimizer's steps `fit` calls the solver of a `ProximalModel` four
times: before an epoch, before and after an update, and at the end. This loop
does the same. The gradient is that of the data loss alone, because the penalty
acts by its prox. Trains on the digit images of scikit-learn.
"""

import argparse

import keras
import tensorflow as tf

import keras_nonconvex as knc


def build(input_shape, classes):
    reg = knc.SparseGroupTL1(1e-4, group_strength=1e-3)
    inputs = keras.Input(input_shape)
    x = keras.layers.Conv2D(16, 5, activation="relu", kernel_regularizer=reg)(
        inputs
    )
    x = keras.layers.Flatten()(keras.layers.MaxPooling2D()(x))
    x = keras.layers.Dense(64, activation="relu", kernel_regularizer=reg)(x)
    outputs = keras.layers.Dense(classes, activation="softmax")(x)
    return knc.ProximalModel(inputs, outputs)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--epochs", type=int, default=30)
    options = parser.parse_args()
    keras.utils.set_random_seed(0)
    data = knc.datasets.load("digits")
    model = build(data.input_shape, len(data.classes))
    loss_of = keras.losses.SparseCategoricalCrossentropy()
    model.compile(keras.optimizers.SGD(0.02, momentum=0.9), loss_of)
    model.optimizer.build(model.trainable_variables)
    solver = model.solver

    @tf.function
    def step(x, y):
        before = solver.before_update(model)
        with tf.GradientTape() as tape:
            loss = loss_of(y, model(x, training=True))
        gradients = tape.gradient(loss, model.trainable_variables)
        model.optimizer.apply(gradients, model.trainable_variables)
        solver.after_update(model, before)
        return loss

    batches = tf.data.Dataset.from_tensor_slices((data.x_train, data.y_train))
    batches = batches.shuffle(2000).batch(64)
    for epoch in range(options.epochs):
        solver.begin_epoch(model, epoch)
        losses = [step(x, y) for x, y in batches]
        if (epoch + 1) % 10 == 0 or epoch + 1 == options.epochs:
            counted = knc.summary(model)
            print(
                f"epoch {epoch + 1}: loss {sum(losses) / len(losses):.4f}, "
                f"{counted.zero_filters} of {counted.filters} filters and "
                f"{counted.zero_weights:,} of {counted.weights:,} weights "
                "are zero"
            )
    solver.finish(model)
    small = knc.prune(model)
    accuracy = (small.predict(data.x_test, verbose=0).argmax(-1)) == data.y_test
    print(
        f"{model.count_params():,} -> {small.count_params():,} parameters, "
        f"test accuracy {accuracy.mean():.4f}"
    )


if __name__ == "__main__":
    main()
