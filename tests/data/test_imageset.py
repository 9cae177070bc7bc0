from __future__ import annotations

import gzip
import shutil
import struct
import unicodedata

import numpy as np
import pytest
from PIL import Image

from sfumato.data import ImageSchema, ImageSet, Numeric, Schema, load_data, load_released
from sfumato.data import imageset as imageset_module
from sfumato.data.pixels import as_bytes, decode
from sfumato.errors import InputError

CLASSES = ("cat", "dog")


def pixels(n=12, channels=1, size=(4, 5), seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, channels, *size), dtype=np.uint8)


def write_image(path, array):
    """One (c, h, w) image as PNG or, by its name, JPEG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array[0] if len(array) == 1 else array.transpose(1, 2, 0)).save(path)


def folder_of(path, images):
    """A folder by class: even numbers are cats, odd ones dogs."""
    for i, image in enumerate(images):
        write_image(path / CLASSES[i % 2] / f"{i:02}.png", image)
    return path


def idx(path, array, *, packed=False, kind=0x08):
    shape = struct.pack(f">{array.ndim}I", *array.shape)
    data = bytes([0, 0, kind, array.ndim]) + shape + array.tobytes()
    path.write_bytes(gzip.compress(data) if packed else data)
    return path


@pytest.fixture(params=["arrays", "folder", "csv", "npz", "idx", "idx.gz"])
def images(request, tmp_path):
    """The same twelve images from every kind of source, cats first."""
    array = pixels()
    order = np.r_[0:12:2, 1:12:2]
    labels = order % 2
    if request.param == "arrays":
        return ImageSet.from_arrays(array[order], labels, CLASSES)
    if request.param == "folder":
        return ImageSet.from_folder(folder_of(tmp_path / "f", array))
    if request.param == "csv":
        folder_of(tmp_path / "f", array)
        rows = [f"{CLASSES[i % 2]}/{i:02}.png,{CLASSES[i % 2]},person {i}" for i in order]
        (tmp_path / "f" / "l.csv").write_text("\n".join(["file,label,who", *rows]) + "\n")
        return ImageSet.from_csv(
            tmp_path / "f", tmp_path / "f" / "l.csv", classes=CLASSES, identity_col="who"
        )
    if request.param == "npz":
        np.savez(tmp_path / "a.npz", images=array[order], labels=labels, classes=np.array(CLASSES))
        return ImageSet.from_npz(tmp_path / "a.npz")
    packed = request.param == "idx.gz"
    pictures = idx(tmp_path / "i", array[order][:, 0], packed=packed)
    return ImageSet.from_idx(
        pictures, idx(tmp_path / "l", labels.astype(np.uint8), packed=packed), CLASSES
    )


def test_images_are_the_same_from_every_source(images):
    order = np.r_[0:12:2, 1:12:2]
    assert images.schema == ImageSchema(1, 4, 5, CLASSES)
    assert images.images.dtype == np.float32
    assert images.labels.dtype == np.int64
    assert (images.images == pixels()[order].astype(np.float32) / 255).all()
    assert images.labels.tolist() == [0] * 6 + [1] * 6
    assert len(images) == images.num_rows == 12
    images.validate(images.schema.with_records(12))
    assert (images.images == pixels()[order].astype(np.float32) / 255).all()


def test_batches_cover_all_images_in_order(images):
    parts = list(images.batches(5))
    assert [len(labels) for _, labels in parts] == [5, 5, 2]
    assert (np.concatenate([array for array, _ in parts]) == images.images).all()
    assert (np.concatenate([labels for _, labels in parts]) == images.labels).all()


def test_a_split_parts_the_images_the_same_way_every_time(images):
    rest, held_out = images.split(0.25, seed=3)
    # Of images of known persons about as many: who is held out depends on nobody else.
    assert len(rest) + len(held_out) == 12
    assert len(held_out) == 3 or images.identity is not None
    again = images.split(0.25, seed=3)[1]
    assert (held_out.images == again.images).all()
    both = np.concatenate([rest.images, held_out.images])
    assert sorted(map(bytes, both)) == sorted(map(bytes, images.images))
    if images.identity is None:
        assert [len(part) for part in rest.split(1 / 3, seed=0)] == [6, 3]
    with pytest.raises(InputError, match="too few"):
        images.split(0.01, seed=0)


def test_heads_are_the_first_images(images):
    assert (images.head(3).images == images.images[:3]).all()
    assert len(images.head(99)) == 12
    with pytest.raises(InputError, match="first 0 images"):
        images.head(0)


def test_saved_images_are_read_back_the_same_and_hold_no_identity(images, tmp_path):
    images.save(tmp_path / "out")
    again = load_released(tmp_path / "out", "images")
    assert (again.images == images.images).all()
    assert (again.labels == images.labels).all()
    assert again.schema == images.schema
    with np.load(tmp_path / "out" / "data.npz", allow_pickle=False) as archive:
        assert sorted(archive.files) == ["classes", "images", "labels"]
        assert archive["images"].dtype == np.uint8


def test_identities_follow_their_images():
    who = np.array([f"person {i}" for i in range(12)])
    images = ImageSet.from_arrays(pixels(), np.arange(12) % 2, CLASSES, identity=who)
    _, held_out = images.split(0.5, seed=0)
    rows = [int(name.split()[1]) for name in held_out.identity]
    assert (held_out.labels == np.array(rows) % 2).all()
    with pytest.raises(InputError, match="12 images and 11 identity"):
        ImageSet.from_arrays(pixels(), np.arange(12) % 2, CLASSES, identity=who[:11])


def test_bytes_are_kept_as_bytes_and_files_decoded_only_when_asked(tmp_path, monkeypatch):
    opened = []
    monkeypatch.setattr(
        "sfumato.data.pixels.decode", lambda path: opened.append(path) or decode(path)
    )
    images = ImageSet.from_folder(folder_of(tmp_path / "f", pixels()))
    assert len(opened) == 1
    next(images.batches(4))
    assert len(opened) == 5
    images.validate(images.schema)
    assert len(opened) == 17
    assert len(images.images) == 12
    assert len(opened) == 17


def test_sets_too_large_to_keep_are_checked_but_not_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(imageset_module, "_KEPT_BYTES", 10)
    images = ImageSet.from_folder(folder_of(tmp_path / "f", pixels()))
    images.validate(images.schema)
    shutil.rmtree(tmp_path / "f" / "dog")
    with pytest.raises(InputError, match="no whole PNG"):
        images.images.sum()


def test_floats_are_saved_rounded_to_bytes(tmp_path):
    values = np.array([[[0.0, 0.5, 1.0]]], np.float64)
    images = ImageSet.from_arrays(values, np.array([0]), CLASSES)
    images.save(tmp_path / "out")
    again = load_released(tmp_path / "out", "images")
    assert np.abs(again.images - values).max() <= 0.5 / 255 + 1e-7
    assert as_bytes(values.astype(np.float32)).tolist() == [[[0, 128, 255]]]


@pytest.mark.parametrize("channels", [1, 3])
def test_channels_may_stand_last_or_be_left_out(channels):
    array = pixels(channels=channels)
    images = ImageSet.from_arrays(array.transpose(0, 2, 3, 1), np.zeros(12, int), CLASSES)
    assert images.schema.shape == (channels, 4, 5)
    assert (images.images == array.astype(np.float32) / 255).all()
    flat = ImageSet.from_arrays(pixels()[:, 0], np.zeros(12, int), CLASSES)
    assert flat.schema.shape == (1, 4, 5)


@pytest.mark.parametrize(
    ("array", "problem"),
    [
        (np.zeros((2, 4)), r"shape \(2, 4\)"),
        (np.zeros((2, 2, 4, 4)), r"shape \(2, 2, 4, 4\)"),
        (np.zeros((0, 1, 4, 4)), r"shape \(0, 1, 4, 4\)"),
        (np.zeros((2, 4, 4), np.int64), "holds int64"),
        (np.zeros((2, 4, 4), bool), "holds bool"),
        (np.full((2, 4, 4), 255.0), "image 0 has a pixel of 255.0"),
        (np.full((2, 4, 4), -0.1), "image 0 has a pixel of -0.1"),
        (np.stack([np.zeros((4, 4)), np.full((4, 4), np.nan)]), "image 1 has a pixel of nan"),
    ],
)
def test_arrays_that_are_no_images_are_refused(array, problem):
    with pytest.raises(InputError, match=problem):
        ImageSet.from_arrays(array, np.zeros(len(array), int), CLASSES)


@pytest.mark.parametrize(
    ("labels", "problem"),
    [
        ([0, 2], "image 1 has the label 2, which was never declared"),
        ([0, -1], "image 1 has the label -1"),
        ([0.0, 1.0], "labels hold float64"),
        ([0], "2 images and 1 labels"),
        (["cat", "cow"], "image 1 has the label 'cow'|image 1 has the label np.str_"),
        ([[0, 1], [1, 0]], "labels have shape"),
    ],
)
def test_labels_that_do_not_fit_are_refused(labels, problem):
    with pytest.raises(InputError, match=problem):
        ImageSet.from_arrays(pixels(2), np.array(labels), CLASSES)


def test_labels_may_be_names_or_stand_in_a_column():
    images = ImageSet.from_arrays(pixels(2), np.array(["dog", "cat"]), CLASSES)
    assert images.labels.tolist() == [1, 0]
    images = ImageSet.from_arrays(pixels(2), np.array([[1], [0]]), CLASSES)
    assert images.labels.tolist() == [1, 0]


def test_an_image_of_another_size_is_named(tmp_path):
    folder = folder_of(tmp_path / "f", pixels())
    write_image(folder / "dog" / "05.png", pixels(1, size=(4, 6))[0])
    images = ImageSet.from_folder(folder)
    with pytest.raises(InputError, match=r"05\.png is 6x4 grey, 00\.png is 5x4 grey"):
        images.validate(images.schema)


def test_an_image_of_another_mode_is_named(tmp_path):
    folder = folder_of(tmp_path / "f", pixels())
    write_image(folder / "dog" / "05.png", pixels(1, channels=3)[0])
    with pytest.raises(InputError, match=r"05\.png is 5x4 RGB, 00\.png is 5x4 grey"):
        ImageSet.from_folder(folder).validate(ImageSchema(1, 4, 5, CLASSES))


@pytest.mark.parametrize("how", ["truncated", "garbage", "empty", "other format"])
def test_a_corrupted_image_is_named(tmp_path, how):
    folder = folder_of(tmp_path / "f", pixels(size=(64, 64)))
    path = folder / "dog" / "05.png"
    whole = path.read_bytes()
    if how == "other format":
        Image.fromarray(pixels()[0, 0]).save(path, format="GIF")
    else:
        path.write_bytes(
            {"truncated": whole[: len(whole) // 2], "garbage": b"x" * 99, "empty": b""}[how]
        )
    with pytest.raises(InputError, match=r"05\.png is no whole PNG or JPEG") as error:
        ImageSet.from_folder(folder).validate(ImageSchema(1, 64, 64, CLASSES))
    assert "\n" not in str(error.value)


def test_a_truncated_jpeg_is_named(tmp_path):
    write_image(tmp_path / "f" / "cat" / "a.jpg", pixels(size=(64, 64))[0])
    path = tmp_path / "f" / "cat" / "a.jpg"
    path.write_bytes(path.read_bytes()[:-300])
    with pytest.raises(InputError, match=r"a\.jpg is no whole PNG or JPEG"):
        ImageSet.from_folder(tmp_path / "f")


def test_an_image_that_would_fill_memory_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 5)
    write_image(tmp_path / "a.png", pixels(1)[0])
    with pytest.raises(InputError, match="no whole PNG or JPEG"):
        decode(tmp_path / "a.png")


@pytest.mark.parametrize(
    ("mode", "shape"), [("1", (1, 4, 5)), ("L", (1, 4, 5)), ("P", (3, 4, 5)), ("RGB", (3, 4, 5))]
)
def test_modes_that_lose_nothing_are_read(tmp_path, mode, shape):
    Image.fromarray(pixels()[0, 0]).convert(mode).save(tmp_path / "a.png")
    assert decode(tmp_path / "a.png").shape == shape


@pytest.mark.parametrize("mode", ["LA", "RGBA", "I;16"])
def test_modes_that_would_lose_something_are_refused(tmp_path, mode):
    if mode == "I;16":
        Image.fromarray(np.full((4, 5), 40_000, np.uint16)).save(tmp_path / "a.png")
    else:
        Image.new(mode, (5, 4)).save(tmp_path / "a.png")
    with pytest.raises(InputError, match=f"a.png has the colour mode {mode}"):
        decode(tmp_path / "a.png")


def test_folders_that_hold_no_classes_are_refused(tmp_path):
    with pytest.raises(InputError, match="there is no folder"):
        ImageSet.from_folder(tmp_path / "none")
    with pytest.raises(InputError, match="holds no folder"):
        ImageSet.from_folder(tmp_path)
    folder = folder_of(tmp_path / "f", pixels())
    with pytest.raises(InputError, match=r"dog is the folder of a class that was never declared"):
        ImageSet.from_folder(folder, classes=("cat",))
    with pytest.raises(InputError, match="class 'cow' has no folder"):
        ImageSet.from_folder(folder, classes=("cat", "dog", "cow"))
    (folder / "cow").mkdir()
    with pytest.raises(InputError, match=r"cow is empty.*declare the classes in a schema"):
        ImageSet.from_folder(folder)
    declared = ImageSet.from_folder(folder, classes=("cat", "dog", "cow"))  # that it is, is private
    assert declared.schema.classes == ("cat", "dog", "cow")
    assert np.bincount(declared.labels, minlength=3).tolist() == [6, 6, 0]
    (folder / "cow" / "notes.txt").write_text("moo")
    with pytest.raises(InputError, match=r"notes\.txt is no PNG or JPEG file"):
        ImageSet.from_folder(folder)


def test_a_folder_of_idx_files_names_the_file_to_give(tmp_path):
    for name in ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"):
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(InputError, match=r"IDX files\. Give .*/train-images-idx3-ubyte\.gz\."):
        ImageSet.from_folder(tmp_path)


def test_an_image_beside_the_folders_is_not_left_out_in_silence(tmp_path):
    folder = folder_of(tmp_path / "f", pixels())
    (folder / "README.txt").write_text("about")
    assert len(ImageSet.from_folder(folder)) == 12
    write_image(folder / "stray.PNG", pixels(1)[0])
    with pytest.raises(InputError, match=r"stray\.PNG lies beside the folders of the classes"):
        ImageSet.from_folder(folder)


def test_folders_without_an_image_are_no_image_set(tmp_path):
    (tmp_path / "cat").mkdir()
    with pytest.raises(InputError, match="hold no image"):
        ImageSet.from_folder(tmp_path, classes=("cat",))


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_names_are_the_same_in_either_unicode_form(tmp_path, form):
    name = unicodedata.normalize(form, "bär")
    other = unicodedata.normalize("NFD" if form == "NFC" else "NFC", "bär")
    write_image(tmp_path / "f" / name / f"{name}.png", pixels(1)[0])
    assert ImageSet.from_folder(tmp_path / "f").schema.classes == ("bär",)
    assert ImageSet.from_folder(tmp_path / "f", classes=(other,)).schema.classes == (other,)
    table = tmp_path / "l.csv"
    table.write_text(f"file,label\n{other}/{other}.png,{other}\n", encoding="utf-8")
    assert len(ImageSet.from_csv(tmp_path / "f", table, classes=(name,))) == 1
    (tmp_path / "f" / other).mkdir()
    with pytest.raises(InputError, match="two folders whose names differ in nothing"):
        ImageSet.from_folder(tmp_path / "f")


@pytest.mark.parametrize("again", ["a.png", "./a.png", "link.png"])
def test_an_image_listed_twice_would_be_two_records(tmp_path, again):
    write_image(tmp_path / "a.png", pixels(1)[0])
    (tmp_path / "link.png").symlink_to(tmp_path / "a.png")
    table = tmp_path / "l.csv"
    table.write_text(f"file,label\na.png,cat\n{again},dog\n")
    with pytest.raises(InputError, match=r"line 3: .* is listed before, on line 2"):
        ImageSet.from_csv(tmp_path, table, classes=CLASSES)


def test_hidden_files_are_no_images(tmp_path):
    folder = folder_of(tmp_path / "f", pixels())
    (folder / ".cache").mkdir()
    (folder / "cat" / ".DS_Store").write_bytes(b"x")
    assert len(ImageSet.from_folder(folder)) == 12


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("name,label\na.png,cat\n", "names the column 'file' 0 times"),
        ("file,label,label\na.png,cat,dog\n", "names the column 'label' 2 times"),
        ("file,label\nb.png,cat\n", r"l\.csv, line 2: there is no file 'b\.png'"),
        ("file,label\na.png,cow\n", r"l\.csv, line 2: label 'cow' was never declared"),
        ("file,label\na.png\n", "label None was never declared"),
        ("file,label\n", "lists no image"),
        ("", "names the column 'file' 0 times"),
        ('file,label\n"a.png,cat\n', "no readable CSV"),
    ],
)
def test_a_csv_of_labels_that_cannot_be_used_is_refused(tmp_path, text, problem):
    write_image(tmp_path / "a.png", pixels()[0])
    (tmp_path / "l.csv").write_text(text)
    with pytest.raises(InputError, match=problem):
        ImageSet.from_csv(tmp_path, tmp_path / "l.csv", classes=CLASSES)
    with pytest.raises(InputError):
        ImageSet.from_csv(tmp_path, tmp_path / "none.csv", classes=CLASSES)
    (tmp_path / "l.csv").write_bytes("file,label\nä.png,cat\n".encode("latin-1"))
    with pytest.raises(InputError, match="is not UTF-8"):
        ImageSet.from_csv(tmp_path, tmp_path / "l.csv", classes=CLASSES)


def test_npz_archives_that_cannot_be_used_are_refused(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, pictures=pixels())
    with pytest.raises(InputError, match=r"has no array 'images'.*It holds: pictures"):
        ImageSet.from_npz(path, CLASSES)
    np.savez(path, images=pixels(), labels=np.zeros(12, int))
    with pytest.raises(InputError, match="names no classes"):
        ImageSet.from_npz(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="no readable npz"):
        ImageSet.from_npz(path, CLASSES)
    np.savez(path, images=pixels(), labels=np.zeros(12, int), classes=np.array(["x", "y"]))
    with pytest.raises(InputError, match="other classes than the schema"):
        ImageSet.from_npz(path, CLASSES)
    np.save(tmp_path / "a.npy", pixels())
    (tmp_path / "a.npy").rename(path)
    with pytest.raises(InputError, match="not an npz archive"):
        ImageSet.from_npz(path, CLASSES)


def test_pickles_in_an_npz_are_never_run(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (open, (str(tmp_path / "exploded"), "w"))

    np.savez(
        tmp_path / "a.npz",
        images=np.array([Bomb()], object),
        labels=np.zeros(1, int),
        classes=np.array(CLASSES),
    )
    (tmp_path / "exploded").unlink(missing_ok=True)
    with pytest.raises(InputError, match="no readable npz"):
        ImageSet.from_npz(tmp_path / "a.npz")
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize("packed", [False, True])
def test_idx_files_that_cannot_be_used_are_refused(tmp_path, packed):
    array = pixels()[:, 0]
    labels = idx(tmp_path / "l", np.zeros(12, np.uint8), packed=packed)
    path = idx(tmp_path / "i", array, packed=packed)
    whole = gzip.decompress(path.read_bytes()) if packed else path.read_bytes()
    path.write_bytes(gzip.compress(whole[:-7]) if packed else whole[:-7])
    with pytest.raises(InputError, match="has 233 values, its header says 240"):
        ImageSet.from_idx(path, labels, CLASSES)
    idx(path, array, packed=packed, kind=0x0D)
    with pytest.raises(InputError, match="holds IDX type 0x0d"):
        ImageSet.from_idx(path, labels, CLASSES)
    path.write_bytes(gzip.compress(b"hello") if packed else b"hello")
    with pytest.raises(InputError, match="is no IDX file"):
        ImageSet.from_idx(path, labels, CLASSES)
    idx(path, array[:11], packed=packed)
    with pytest.raises(InputError, match="has shape"):
        ImageSet.from_idx(path, labels, CLASSES)
    with pytest.raises(InputError, match="has shape"):
        ImageSet.from_idx(labels, path, CLASSES)
    with pytest.raises(InputError, match="cannot be read"):
        ImageSet.from_idx(tmp_path / "none", labels, CLASSES)


def test_a_truncated_gzip_is_refused(tmp_path):
    path = idx(tmp_path / "i", pixels()[:, 0], packed=True)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(InputError, match="cannot be read"):
        ImageSet.from_idx(path, path, CLASSES)


def test_validation_compares_the_facts():
    images = ImageSet.from_arrays(pixels(), np.arange(12) % 2, CLASSES)
    with pytest.raises(InputError, match=r"images are \(1, 4, 5\) of 2 classes, the schema says"):
        images.validate(ImageSchema(1, 5, 4, CLASSES))
    with pytest.raises(InputError, match="images are"):
        images.validate(ImageSchema(1, 4, 5, ("dog", "cat")))
    with pytest.raises(InputError, match="declares 13 records, there are 12 images"):
        images.validate(ImageSchema(1, 4, 5, CLASSES, records=13))
    with pytest.raises(InputError, match="against a table's facts"):
        images.validate(Schema((Numeric("x", 0, 1, 1),)))
    with pytest.raises(InputError, match="images are"):
        images.with_schema(ImageSchema(3, 4, 5, CLASSES))
    assert "12 of 1x4x5, 2 classes" in repr(images)


def test_a_folder_with_labels_csv_needs_declared_classes(tmp_path):
    write_image(tmp_path / "a.png", pixels()[0])
    (tmp_path / "labels.csv").write_text("file,label\na.png,dog\n")
    with pytest.raises(InputError, match="needs declared classes"):
        load_data(tmp_path)
    data = load_data(tmp_path, schema=ImageSchema(1, 4, 5, CLASSES))
    assert data.labels.tolist() == [1]


def soft(n=12, classes=2, seed=0):
    return np.random.default_rng(seed).dirichlet(np.ones(classes), n).astype(np.float32)


def test_soft_labels_go_where_their_images_go(tmp_path):
    images = ImageSet.from_arrays(
        pixels(), np.arange(12) % 2, CLASSES, soft_labels=soft().astype(np.float64)
    )
    assert images.soft_labels.dtype == np.float32
    rows = np.array([7, 2, 2])
    assert np.array_equal(images.select(rows).soft_labels, soft()[rows])
    assert np.array_equal(images.with_schema(images.schema).soft_labels, soft())
    images.save(tmp_path)
    assert np.array_equal(load_released(tmp_path, "images").soft_labels, soft())
    assert np.array_equal(load_data(tmp_path).soft_labels, soft())
    with np.load(tmp_path / "data.npz") as saved:
        assert saved["soft_labels"].shape == (12, 2)


def test_images_without_soft_labels_are_saved_without(tmp_path):
    images = ImageSet.from_arrays(pixels(), np.arange(12) % 2, CLASSES)
    assert images.soft_labels is None
    assert images.head(3).soft_labels is None
    images.save(tmp_path)
    with np.load(tmp_path / "data.npz") as saved:
        assert "soft_labels" not in saved.files
    assert load_released(tmp_path, "images").soft_labels is None


@pytest.mark.parametrize(
    "wrong",
    [
        soft(11),
        soft(classes=3),
        soft()[:, 0],
        np.ones((12, 2), np.int64),
        soft() * 2,
        np.tile(np.array([1.5, -0.5], np.float32), (12, 1)),
        np.full((12, 2), np.nan, np.float32),
    ],
)
def test_soft_labels_that_are_no_shares_are_refused(wrong):
    with pytest.raises(InputError, match="soft label"):
        ImageSet.from_arrays(pixels(), np.arange(12) % 2, CLASSES, soft_labels=wrong)


@pytest.mark.parametrize("mode", ["L", "RGB", "P"])
def test_a_picture_is_turned_as_its_camera_was_held(tmp_path, mode):
    upright = np.zeros((4, 6), np.uint8)
    upright[0] = 255  # white at the top
    turned = Image.fromarray(np.rot90(upright)).convert(mode)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    turned.save(tmp_path / "a.png", exif=exif)
    found = decode(tmp_path / "a.png")
    assert found.shape[1:] == (4, 6)
    assert np.array_equal(found[0], upright)


def test_an_animation_is_no_picture(tmp_path):
    frames = [Image.fromarray(np.full((4, 5), grey, np.uint8)) for grey in (0, 90, 200)]
    frames[0].save(tmp_path / "a.png", save_all=True, append_images=frames[1:])
    with pytest.raises(InputError, match=r"a\.png holds 3 pictures"):
        decode(tmp_path / "a.png")


def test_names_of_classes_are_texts_bytes_or_numbers_in_one_row(tmp_path):
    def of(classes, labels=(0, 1)):
        np.savez(tmp_path / "a.npz", images=pixels(2), labels=np.array(labels), classes=classes)
        return ImageSet.from_npz(tmp_path / "a.npz").schema.classes

    assert of(np.array([b"cat", "h\u00fchner".encode()])) == ("cat", "h\u00fchner")
    assert of(np.array([3, 5])) == ("3", "5")
    with pytest.raises(InputError, match=r"classes hold <U3 of shape \(1, 2\)"):
        of(np.array([["cat", "dog"]]))
    with pytest.raises(InputError, match="classes are not UTF-8"):
        of(np.array([b"\xff", b"a"]))
    with pytest.raises(InputError, match=r"Python objects.*astype\(str\)"):
        of(np.array(["cat", "dog"]), np.array(["cat", "dog"], object))
