# Tries to keep the command busy by a small zip of zips, each of which unpacks to nineteen megabytes.
import io
import zipfile
import zlib


def hand_in(folder):
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w") as archive:
        archive.writestr("padding", bytes(19_000_000))
        archive.writestr("work.ipynb", "{}")
    (folder / "eve").mkdir()
    write(folder / "eve" / "lab.zip", [f"{number}.zip" for number in range(900)], inner.getvalue())


def write(path, names, data):
    """A zip whose members have the same content, which is compressed only once."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed, checksum = packer.compress(data) + packer.flush(), zlib.crc32(data)
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            member = zipfile.ZipInfo(name)
            member.compress_type, member.CRC = zipfile.ZIP_DEFLATED, checksum
            member.compress_size, member.file_size, member.header_offset = len(packed), len(data), archive.fp.tell()
            archive.fp.write(member.FileHeader(False) + packed)
            archive.filelist.append(member)
            archive.NameToInfo[name] = member
        archive.start_dir, archive._didModify = archive.fp.tell(), True
