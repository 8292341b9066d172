"""Drawn faces in CelebA's own file formats, prepared by TensorFlow Datasets' own CelebA builder.

Only the download is replaced: where the builder asks for a URL it gets the file of that name.
"""

import io
import zipfile
from pathlib import Path
from unittest import mock

import numpy as np
from PIL import Image, ImageDraw

from keras_tag.datasets import prepare_celeb_a
from keras_tag.datasets.celeb_a_files import FILES

WIDTH, HEIGHT = 178, 218
HAIR = {"Black_Hair": (20, 20, 20), "Blond_Hair": (230, 205, 120), "Brown_Hair": (110, 65, 30)}
# CelebA's forty, in the order of its own file.
ATTRIBUTES = [
    "5_o_Clock_Shadow",
    "Arched_Eyebrows",
    "Attractive",
    "Bags_Under_Eyes",
    "Bald",
    "Bangs",
    "Big_Lips",
    "Big_Nose",
    "Black_Hair",
    "Blond_Hair",
    "Blurry",
    "Brown_Hair",
    "Bushy_Eyebrows",
    "Chubby",
    "Double_Chin",
    "Eyeglasses",
    "Goatee",
    "Gray_Hair",
    "Heavy_Makeup",
    "High_Cheekbones",
    "Male",
    "Mouth_Slightly_Open",
    "Mustache",
    "Narrow_Eyes",
    "No_Beard",
    "Oval_Face",
    "Pale_Skin",
    "Pointy_Nose",
    "Receding_Hairline",
    "Rosy_Cheeks",
    "Sideburns",
    "Smiling",
    "Straight_Hair",
    "Wavy_Hair",
    "Wearing_Earrings",
    "Wearing_Hat",
    "Wearing_Lipstick",
    "Wearing_Necklace",
    "Wearing_Necktie",
    "Young",
]


def draw_attributes(rng):
    """Which of the drawn attributes a face has, and by chance the others."""
    has = {name: bool(rng.random() < 0.5) for name in ATTRIBUTES}
    hair = rng.choice([*HAIR, "Gray_Hair"])
    has.update({name: name == hair for name in (*HAIR, "Gray_Hair")})
    has["Goatee"], has["Mustache"] = rng.random(2) < 0.3
    has["5_o_Clock_Shadow"] = bool(rng.random() < 0.3)
    has["No_Beard"] = not (has["Goatee"] or has["Mustache"] or has["5_o_Clock_Shadow"])
    return has


def draw_face(has, rng):
    """A face that shows the nine attributes of the paper."""
    skin = tuple(int(v) for v in rng.integers(-15, 15, 3) + np.array([215, 170, 140]))
    image = Image.new("RGB", (WIDTH, HEIGHT), tuple(int(v) for v in rng.integers(60, 200, 3)))
    draw = ImageDraw.Draw(image)
    hair = next((colour for name, colour in HAIR.items() if has[name]), (150, 150, 150))
    draw.ellipse((24, 20, 154, 190), fill=hair)
    draw.ellipse((40, 50, 138, 200), fill=skin)
    if has["5_o_Clock_Shadow"]:
        draw.pieslice((40, 50, 138, 200), 20, 160, fill=tuple(int(v * 0.75) for v in skin))
    if has["Rosy_Cheeks"]:
        for x in (52, 106):
            draw.ellipse((x, 120, x + 22, 138), fill=(235, 110, 110))
    for x in (66, 112):
        draw.ellipse((x - 7, 100, x + 7, 110), fill=(30, 40, 60))
    if has["Mustache"]:
        draw.rectangle((66, 146, 112, 153), fill=(50, 35, 25))
    draw.rectangle((74, 158, 104, 163), fill=(180, 70, 70))
    if has["Goatee"]:
        draw.ellipse((74, 170, 104, 200), fill=(50, 35, 25))
    if has["Wearing_Hat"]:
        draw.rectangle((18, 4, 160, 62), fill=tuple(int(v) for v in rng.integers(0, 255, 3)))
    return image


def write_files(folder, sizes, seed=0, damaged=()):
    """CelebA's five files.

    Returns the attributes by file name, the images as drawn by file name, and which file names
    belong to which split.
    """
    rng = np.random.default_rng(seed)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    names, attributes, images, splits = [], {}, {}, {}
    for split, size in sizes.items():
        splits[split] = [f"{len(names) + i + 1:06d}.jpg" for i in range(size)]
        names += splits[split]
    with zipfile.ZipFile(folder / FILES[0], "w") as archive:
        for name in names:
            attributes[name] = draw_attributes(rng)
            images[name] = draw_face(attributes[name], rng)
            jpeg = io.BytesIO()
            images[name].save(jpeg, "JPEG", quality=95)
            data = jpeg.getvalue()
            if name in damaged:
                data = data[: len(data) // 3]
            archive.writestr(f"img_align_celeba/{name}", data)
    rows = [
        " ".join([name, *(f"{1 if attributes[name][a] else -1:2d}" for a in ATTRIBUTES)])
        for name in names
    ]
    (folder / FILES[1]).write_text("\n".join([str(len(names)), " ".join(ATTRIBUTES), *rows, ""]))
    numbers = {"train": 0, "validation": 1, "test": 2}
    (folder / FILES[2]).write_text(
        "".join(f"{name} {numbers[split]}\n" for split in sizes for name in splits[split])
    )
    heading = (
        "lefteye_x lefteye_y righteye_x righteye_y nose_x nose_y leftmouth_x leftmouth_y "
        "rightmouth_x rightmouth_y"
    )
    marks = "66 105 112 105 89 130 74 160 104 160"
    rows = [f"{name} {marks}" for name in names]
    (folder / FILES[3]).write_text("\n".join([str(len(names)), heading, *rows, ""]))
    (folder / FILES[4]).write_text("".join(f"{n} {k}\n" for k, n in enumerate(names)))
    return attributes, images, splits


def prepare(files, data_dir):
    """What `prepare_celeb_a` does with the public files; these have other checksums."""
    import tensorflow_datasets as tfds

    by_key = dict(
        zip(
            (
                "img_align_celeba",
                "list_attr_celeba",
                "list_eval_partition",
                "landmarks_celeba",
                "identity_celeba",
            ),
            FILES,
            strict=True,
        )
    )

    def download(self, urls):
        return {key: Path(files) / by_key[key] for key in urls}

    with mock.patch.object(tfds.download.DownloadManager, "download", download):
        return prepare_celeb_a(files, data_dir)
