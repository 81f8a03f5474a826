"""KerasHub backbones: zeros while they train, a file, and what is refused."""

import keras
import numpy as np
import pytest

import keras_sparse as ks

models = pytest.importorskip("keras_hub").models
RNG = np.random.default_rng(0)


def bert():
    backbone = models.BertBackbone(
        vocabulary_size=50,
        num_layers=1,
        num_heads=2,
        hidden_dim=32,
        intermediate_dim=64,
        max_sequence_length=12,
    )
    output = keras.layers.Dense(3)(backbone.output["pooled_output"])
    tokens = RNG.integers(0, 50, (32, 12)).astype("int32")
    x = {
        "token_ids": tokens,
        "segment_ids": np.zeros_like(tokens),
        "padding_mask": np.ones_like(tokens),
    }
    return keras.Model(backbone.input, output), x, 10


def vit():
    backbone = models.ViTBackbone(
        image_shape=(16, 16, 3),
        patch_size=8,
        num_layers=1,
        num_heads=2,
        hidden_dim=32,
        mlp_dim=64,
    )
    pool = keras.layers.GlobalAveragePooling1D()
    model = keras.Sequential([backbone, pool, keras.layers.Dense(3)])
    model.build((None, 16, 16, 3))
    return model, images(), 9


def images():
    return RNG.uniform(size=(32, 16, 16, 3)).astype("float32")


@pytest.mark.parametrize("make", [bert, vit])
def test_a_transformer_from_sparsify_to_a_file(make, tmp_path):
    model, x, kernels = make()
    ks.sparsify(model, ks.Mask(), verbose=False)
    assert len(list(ks.parametrized(model))) == kernels
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("adam", loss)
    prune = ks.callbacks.Prune(ks.schedules.Polynomial(0.8, begin=0, end=4))
    y = RNG.integers(0, 3, 32)
    with pytest.warns(UserWarning, match="would load without"):
        model.fit(x, y, batch_size=8, callbacks=[prune], verbose=0)
    # Its config rebuilds it: the masks go by its weights, or not at all.
    with pytest.raises(ValueError, match="model.save_weights"):
        ks.save(model, tmp_path / "sparse.keras")
    model.save_weights(tmp_path / "sparse.weights.h5")
    again = ks.sparsify(make()[0], ks.Mask(), verbose=False)
    again.load_weights(tmp_path / "sparse.weights.h5")
    expected = model.predict(x, verbose=0)
    np.testing.assert_array_equal(again.predict(x, verbose=0), expected)

    ks.strip(model)
    np.testing.assert_array_equal(model.predict(x, verbose=0), expected)
    ks.save(model, tmp_path / "plain.keras")
    loaded = keras.saving.load_model(tmp_path / "plain.keras")
    np.testing.assert_array_equal(loaded.predict(x, verbose=0), expected)
    report = ks.export_tflite(
        model, tmp_path / "a.tflite", "dynamic", inputs=x, sparse="storage"
    )
    assert 0 < max(report.relative_difference.values()) < 0.1
    assert report.nonzeros < 0.3 * report.parameters
    # Attention and what it hands on keep their size.
    with pytest.raises(ValueError, match="Expected a share that can go"):
        ks.structured.shrink(model, 0.3)


@pytest.mark.parametrize("nested", [True, False])
def test_a_convolutional_backbone_loses_channels(nested, tmp_path):
    backbone = models.ResNetBackbone(
        input_conv_filters=[64],
        input_conv_kernel_sizes=[3],
        stackwise_num_filters=[64],
        stackwise_num_blocks=[1],
        stackwise_num_strides=[1],
        block_type="basic_block",
        image_shape=(16, 16, 3),
    )
    image = keras.Input((16, 16, 3))
    start, end = backbone.input, backbone.output
    if nested:
        start, end = image, backbone(image)
    pooled = keras.layers.GlobalAveragePooling2D()(end)
    model, x = keras.Model(start, keras.layers.Dense(3)(pooled)), images()
    small = ks.structured.shrink(model, 0.3)
    assert small.count_params() <= 0.7 * model.count_params()
    ks.export_tflite(small, tmp_path / "small.tflite", inputs=x)
    # Nested it rebuilds itself; made of its layers the model is Functional.
    ks.sparsify(model, ks.Mask(), verbose=False)
    path = tmp_path / "sparse.keras"
    if nested:
        with pytest.raises(ValueError, match="save_weights"):
            ks.save(model, path)
    else:
        ks.save(model, path)
        loaded = keras.saving.load_model(path)
        assert len(list(ks.parametrized(loaded))) == 4
