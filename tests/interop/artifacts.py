"""What somebody without ice does with a registry, by the Python client of ORAS. Shares no code with the host.

    artifacts.py pull REFERENCE FOLDER        writes the files of an artifact, as `oras pull` does
    artifacts.py envelope REFERENCE FILE      writes the envelope that its config is or holds
    artifacts.py push REFERENCE FILE ...      pushes components, as `oras push` does
"""

import json
import sys

import oras.client

MEDIA_TYPE = "application/vnd.iceos.envelope.v0+json"
MEMBER = "io.iceos.envelope.v0"


def pull(client, reference, folder):
    for path in client.pull(target=reference, outdir=folder):
        print(path)


def envelope(client, reference, path):
    config = client.get_manifest(reference)["config"]
    data = client.get_blob(reference, config["digest"]).content
    if config["mediaType"] != MEDIA_TYPE:
        data = json.dumps(json.loads(data)[MEMBER]).encode()
    with open(path, "wb") as file:
        file.write(data)


def push(client, reference, *paths):
    files = [f"{path}:application/wasm" for path in paths]
    client.push(target=reference, files=files, disable_path_validation=True, quiet=True)


VERBS = {"pull": pull, "envelope": envelope, "push": push}


def main(arguments):
    if len(arguments) < 3 or arguments[0] not in VERBS:
        sys.exit(__doc__)
    VERBS[arguments[0]](oras.client.OrasClient(insecure=True), *arguments[1:])


if __name__ == "__main__":
    main(sys.argv[1:])
