#!/usr/bin/env python3
"""Makes tests/golden/pictures: small PNG and JPEG files of every kind, and values.txt with what PIL
reads from them, a line each: FILE BACKGROUND SIZE HEIGHT WIDTH CHANNELS and the bytes in hex.

    python3 tests/golden/make_pictures.py            (Pillow 13.0.0, numpy)

The reference is Image.convert("L") or ("RGB") after ImageOps.exif_transpose; with a background,
Image.alpha_composite before it; with a size, ImageOps.fit with BICUBIC after it. Two exceptions,
where PIL loses what the file says: 16-bit grey is divided by 256 (PIL clips it at 255), and a
transparent colour of other than 8 bits is compared in the file's own numbers.
"""
import io
import pathlib
import struct
import zlib

import numpy as np
from PIL import Image, ImageOps

OUT = pathlib.Path(__file__).parent / "pictures"
RANDOM = np.random.default_rng(16)
SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
ADAM7 = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
lines = []


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def packed(samples, depth):
    if depth == 16:
        return np.asarray(samples, ">u2").tobytes()
    bits = "".join(format(int(v), f"0{depth}b") for v in samples)
    bits += "0" * (-len(bits) % 8)
    return bytes(int(bits[i : i + 8], 2) for i in range(0, len(bits), 8))


def png(a, depth, kind, extra=b"", interlaced=False, after=b""):
    passes = ADAM7 if interlaced else [(0, 0, 1, 1)]
    raw = b""
    for x, y, dx, dy in passes:
        part = a[y::dy, x::dx]
        if part.size:
            raw += b"".join(b"\0" + packed(row.ravel(), depth) for row in part)
    header = struct.pack(">IIBBBBB", a.shape[1], a.shape[0], depth, kind, 0, 0, int(interlaced))
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra
            + chunk(b"IDAT", zlib.compress(raw, 9)) + after + chunk(b"IEND", b""))


def rgba(image, file):
    """What PIL's convert("RGBA") should give: it compares transparent colours with scaled values."""
    kind, depth = file[25], file[24]
    at = file.find(b"tRNS")
    if at < 0 or kind not in (0, 2) or depth == 8:
        return image.convert("RGBA")
    stored = Image.open(io.BytesIO(file))
    assert kind == 0 and depth < 8, "only these are made here"
    scale = 255 // (2**depth - 1)
    grey = np.asarray(stored.convert("L"))
    key = struct.unpack(">H", file[at + 4 : at + 6])[0]
    alpha = np.where(grey // scale == key, 0, 255).astype(np.uint8)
    return Image.fromarray(np.stack([grey, grey, grey, alpha], -1))


def reference(file, background, size):
    image = Image.open(io.BytesIO(file))
    image.load()
    grey = image.mode in ("1", "L", "LA", "I;16") or (file[1:4] == b"PNG" and file[25] in (0, 4))
    image = ImageOps.exif_transpose(image)
    if image.mode == "I;16":
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if background != "none":
        color = {"white": (255,) * 3, "black": (0,) * 3}.get(background)
        color = color or tuple(int(v) for v in background.split(","))
        grey = grey and len(set(color)) == 1
        image = Image.alpha_composite(Image.new("RGBA", image.size, color + (255,)), rgba(image, file))
    image = image.convert("L" if grey else "RGB")
    if size != "-":
        height, width = (int(v) for v in size.split(","))
        image = ImageOps.fit(image, (width, height), Image.Resampling.BICUBIC)
    a = np.asarray(image)
    return a.reshape(a.shape[0], a.shape[1], -1)


def add(name, file, backgrounds=("none",), sizes=("-",)):
    (OUT / name).write_bytes(file)
    for background in backgrounds:
        for size in sizes:
            a = reference(file, background, size)
            lines.append(f"{name} {background} {size} {a.shape[0]} {a.shape[1]} {a.shape[2]} {a.tobytes().hex()}")


def make_pngs():
    # Chunks of colour management: they must not shift values.
    managed = (chunk(b"gAMA", struct.pack(">I", 100000))
               + chunk(b"cHRM", struct.pack(">8I", 31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000)))
    profile = chunk(b"iCCP", b"x\0\0" + zlib.compress(bytes(range(128)) * 2))
    count = 0
    for kind, depths in {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}.items():
        for depth in depths:
            for transparent in (False, True):
                if transparent and (kind in (4, 6) or (depth == 16)):
                    continue
                count += 1
                a = RANDOM.integers(0, 2**depth, (5, 7, SAMPLES[kind]))
                extra = [b"", managed, profile, chunk(b"sRGB", b"\0")][count % 4]
                if kind == 3:
                    colors = 2**min(depth, 5)
                    a %= colors
                    extra += chunk(b"PLTE", RANDOM.integers(0, 256, 3 * colors, dtype=np.uint8).tobytes())
                if transparent:
                    key = (RANDOM.integers(0, 256, max(1, colors // 2), dtype=np.uint8).tobytes() if kind == 3
                           else a[0, 0].astype(">u2").tobytes())
                    extra += chunk(b"tRNS", key)
                clear = transparent or kind in (4, 6)
                add(f"png_{kind}_{depth}{'_trns' if transparent else ''}.png",
                    png(a, depth, kind, extra, interlaced=count % 2 == 0),
                    ("none", "white", "black", "10,200,33") if clear else ("none",))
    every = np.stack(np.meshgrid(np.arange(0, 256, 15), np.arange(256)), -1)
    add("every_alpha.png", png(every, 8, 4), ("white", "77,77,77"))
    add("beyond_palette.png", png(np.array([[[0], [1], [9]]]), 8, 3, chunk(b"PLTE", b"\1\2\3\xc8\x64\x32")))


def jpeg(mode, **options):
    a = RANDOM.integers(0, 256, (3, 4, 4), dtype=np.uint8)
    image = Image.fromarray(a, "CMYK").resize((19, 13), Image.Resampling.BILINEAR)
    image = image if mode == "CMYK" else image.convert(mode)
    out = io.BytesIO()
    image.save(out, "JPEG", **options)
    return out.getvalue()


def orientation(value):
    exif = Image.Exif()
    exif[0x112] = value
    return exif


def make_jpegs():
    for name, mode, options in [("grey", "L", {}), ("rgb", "RGB", {"subsampling": 0}),
                                ("rgb_420", "RGB", {"subsampling": 2}), ("cmyk", "CMYK", {}),
                                ("progressive", "RGB", {"progressive": True})]:
        add(f"jpeg_{name}.jpg", jpeg(mode, quality=90, **options))
    for value in range(1, 9):
        add(f"exif_{value}.jpg", jpeg("L", quality=60, exif=orientation(value)))
    tiff = struct.pack(">2sHIHHHIHHI", b"MM", 42, 8, 1, 0x112, 3, 1, 6, 0, 0)
    picture = RANDOM.integers(0, 256, (3, 5, 3))
    add("exif_6.png", png(picture, 8, 2, extra=chunk(b"eXIf", tiff)))
    add("exif_after.png", png(picture, 8, 2, after=chunk(b"eXIf", tiff)))
    plain = jpeg("L", quality=60)
    packet = b'http://ns.adobe.com/xap/1.0/\0<x><y tiff:Orientation="8"/></x>'
    add("xmp_8.jpg", plain[:2] + b"\xff\xe1" + struct.pack(">H", len(packet) + 2) + packet + plain[2:])
    # Oddities that lose no pixel: a foreign version, bytes between segments and before the end.
    version = plain.find(b"JFIF\0") + 5
    add("version_2.jpg", plain[:version] + b"\2" + plain[version + 1:])
    table = plain.find(b"\xff\xdb")
    add("bytes_between.jpg", plain[:table] + b"\0\7" + plain[table:])
    add("bytes_before_end.jpg", plain[:-2] + b"\0\0\0" + plain[-2:])


def make_sizes():
    for name, height, width, samples in [("wide", 11, 30, 3), ("tall", 31, 10, 1), ("square", 16, 16, 1)]:
        add(f"fit_{name}.png", png(RANDOM.integers(0, 256, (height, width, samples)), 8, 2 if samples == 3 else 0),
            sizes=("8,8", "5,12", "12,5", "24,24", "1,1", "16,16"))


OUT.mkdir(exist_ok=True)
for old in OUT.iterdir():
    old.unlink()
make_pngs()
make_jpegs()
make_sizes()
(OUT / "values.txt").write_text("\n".join(lines) + "\n")
