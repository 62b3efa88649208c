"""A localizer that knows nothing of the suite: plain Python without a package, in an environment of its own.

Its map is the red channel, written as a grey PNG. Replace `score_map` by your network.
"""

import json
import struct
import sys
import zlib


def read_png(path):
    """Rows of RGB bytes of an 8-bit PNG, as the suite writes it."""
    with open(path, "rb") as file:
        data = file.read()
    position, packed = 8, b""
    while position < len(data):
        (length,), kind = struct.unpack(">I", data[position : position + 4]), data[position + 4 : position + 8]
        body = data[position + 8 : position + 8 + length]
        if kind == b"IHDR":
            width, height, depth, colour = struct.unpack(">IIBB", body[:10])
        elif kind == b"IDAT":
            packed += body
        position += 12 + length
    if (depth, colour) != (8, 2):
        raise ValueError("expected 8-bit RGB")
    raw, rows, above = zlib.decompress(packed), [], bytearray(3 * width)
    for y in range(height):
        start = y * (3 * width + 1)
        row = unfiltered(raw[start], bytearray(raw[start + 1 : start + 1 + 3 * width]), above)
        rows.append(row)
        above = row
    return rows


def unfiltered(method, row, above):
    """One row of a PNG without its filter (PNG specification, section 9)."""
    for i in range(len(row)):
        left, up, corner = (row[i - 3] if i >= 3 else 0), above[i], (above[i - 3] if i >= 3 else 0)
        if method == 4:
            estimate = left + up - corner
            nearest = min((left, up, corner), key=lambda value: abs(estimate - value))
            row[i] = (row[i] + nearest) % 256
        else:
            row[i] = (row[i] + (0, left, up, (left + up) // 2)[method]) % 256
    return row


def write_png(path, rows):
    """Grey, 8 bit."""
    header = struct.pack(">IIBBBBB", len(rows[0]), len(rows), 8, 0, 0, 0, 0)
    with open(path, "wb") as file:
        file.write(b"\x89PNG\r\n\x1a\n")
        packed = zlib.compress(b"".join(b"\0" + row for row in rows))
        for kind, body in ((b"IHDR", header), (b"IDAT", packed), (b"IEND", b"")):
            file.write(struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)))


def score_map(rows):
    """Larger = more likely forged."""
    return [bytes(row[0::3]) for row in rows]


def main():
    print(json.dumps({"protocol": 1, "name": "redness", "version": "1"}), flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        answer = {"id": asked["id"]}
        if asked["image"].endswith(".png"):
            write_png(asked["output"], score_map(read_png(asked["image"])))
            answer["map"] = asked["output"]
        else:
            answer["not_applicable"] = "this example reads PNG alone"
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
