"""`ks.save`: complete files or none, and no model that reloads wrong."""

import keras
import numpy as np
import pytest

import keras_sparse as ks


@keras.saving.register_keras_serializable(package="tests")
class Rebuilds(keras.Model):
    """Its config says how to make it, not what its layers became."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.dense = keras.layers.Dense(3)

    def build(self, shape):
        self.dense.build(shape)

    def call(self, x):
        return self.dense(x)


def sparse_functional():
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    ks.sparsify(model, ks.Mask(), verbose=False)
    _, _, mask = next(ks.parametrized(model))
    mask.set_mask(np.eye(4, 3))
    return model


def sparse_rebuilding():
    model = Rebuilds()
    model.build((None, 4))
    return ks.sparsify(model, ks.Mask(), verbose=False)


def test_a_functional_model_reloads_as_it_was(tmp_path):
    model = sparse_functional()
    ks.save(model, tmp_path / "m.keras")
    loaded = keras.saving.load_model(tmp_path / "m.keras")
    x = np.random.rand(2, 4)
    np.testing.assert_array_equal(model(x), loaded(x))


def test_a_model_that_rebuilds_its_layers_is_refused(tmp_path):
    model = sparse_rebuilding()
    with pytest.raises(ValueError, match="save_weights"):
        ks.save(model, tmp_path / "m.keras")
    assert not list(tmp_path.iterdir())


def test_every_layer_that_would_be_lost_is_named():
    class Two(Rebuilds):
        def build(self, shape):
            super().build(shape)
            self.second = keras.layers.Dense(2)
            self.second.build((None, 3))

        def call(self, x):
            return self.second(super().call(x))

    model = Two()
    model.build((None, 4))
    ks.sparsify(model, ks.Mask(), verbose=False)
    assert len(ks.saving.lost_on_reload(model)) == 2


def test_the_remedy_in_that_message_works(tmp_path):
    model = sparse_rebuilding()
    _, _, mask = next(ks.parametrized(model))
    mask.set_mask(np.eye(4, 3))
    x = np.random.rand(2, 4)
    expected = np.asarray(model(x))
    model.save_weights(tmp_path / "m.weights.h5")
    again = sparse_rebuilding()
    again.load_weights(tmp_path / "m.weights.h5")
    np.testing.assert_array_equal(np.asarray(again(x)), expected)


def test_a_stripped_one_is_saved(tmp_path):
    ks.save(ks.strip(sparse_rebuilding()), tmp_path / "m.keras")
    assert (tmp_path / "m.keras").exists()


def test_prune_warns_at_the_end_of_training():
    model = sparse_rebuilding()
    model.compile("sgd", "mse")
    with pytest.warns(UserWarning, match="save_weights"):
        model.fit(
            np.ones((4, 4)),
            np.ones((4, 3)),
            verbose=0,
            callbacks=[ks.callbacks.Prune(0.5)],
        )


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "m.keras"
    path.write_bytes(b"old")
    model = sparse_functional()

    def full_disk(self, *args, **kwargs):
        raise OSError("No space left on device")

    monkeypatch.setattr(keras.Model, "save", full_disk)
    with pytest.raises(OSError, match="No space left"):
        ks.save(model, path)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["m.h5", "m", "m.weights.h5"])
def test_another_ending_is_refused(tmp_path, name):
    with pytest.raises(ValueError, match="ends in '.keras'"):
        ks.save(sparse_functional(), tmp_path / name)


def test_a_missing_folder_is_an_error(tmp_path):
    with pytest.raises(OSError):
        ks.save(sparse_functional(), tmp_path / "missing" / "m.keras")


def test_only_models_are_saved(tmp_path):
    with pytest.raises(TypeError, match="keras.Model"):
        ks.save(keras.layers.Dense(3), tmp_path / "m.keras")


def test_a_folder_in_the_way_is_an_error_and_stays(tmp_path):
    (tmp_path / "m.keras").mkdir()
    with pytest.raises(IsADirectoryError, match="file name"):
        ks.save(sparse_functional(), tmp_path / "m.keras")
    assert [p.name for p in tmp_path.iterdir()] == ["m.keras"]


def test_a_saved_file_has_the_usual_rights(tmp_path):
    (tmp_path / "usual").touch()
    ks.save(sparse_functional(), tmp_path / "m.keras")
    usual = (tmp_path / "usual").stat().st_mode
    assert (tmp_path / "m.keras").stat().st_mode == usual


def test_saving_again_replaces_the_file(tmp_path):
    model = sparse_functional()
    ks.save(model, tmp_path / "m.keras")
    next(ks.parametrized(model))[2].set_mask(np.zeros((4, 3)))
    ks.save(model, str(tmp_path / "m.keras"))
    loaded = keras.saving.load_model(tmp_path / "m.keras")
    assert not np.any(loaded(np.ones((1, 4))))
    assert [p.name for p in tmp_path.iterdir()] == ["m.keras"]


@keras.saving.register_keras_serializable(package="tests")
class OwnConfig(keras.layers.Dense):
    """Its config knows nothing of its ancestors'."""

    def __init__(self, width):
        super().__init__(width)
        self.width = width

    def get_config(self):
        return {"width": self.width}

    @classmethod
    def from_config(cls, config):
        return cls(config["width"])


ks.register_adapter(OwnConfig)


def test_a_layer_with_a_config_of_its_own_reloads_sparse(tmp_path):
    model = keras.Sequential([keras.Input((4,)), OwnConfig(3)])
    ks.sparsify(model, ks.Mask(), verbose=False)
    next(ks.parametrized(model))[2].set_mask(np.eye(4, 3))
    ks.save(model, tmp_path / "m.keras")
    loaded = keras.saving.load_model(tmp_path / "m.keras")
    x = np.random.rand(2, 4)
    np.testing.assert_array_equal(loaded(x), model(x))
    assert ks.strip(loaded).layers[0].get_config() == {"width": 3}


def test_a_model_copied_from_its_config_is_sparse():
    model = sparse_functional()
    copy = keras.models.clone_model(model)
    assert len(list(ks.parametrized(copy))) == 1
    copy.set_weights(model.get_weights())
    x = np.random.rand(2, 4)
    np.testing.assert_array_equal(copy(x), model(x))
