"""Which modules there are: what is imported here while the component is built, and nothing else.

There is no file to import from later; a module that is missing says why. Nothing here protects the host: that is the
sandbox around the interpreter, in which a socket or a file cannot be opened whatever the code does.
"""

# Each is imported for good; code imports it again by name.
import abc
import array
import ast
import base64
import binascii
import bisect
import builtins
import calendar
import cmath
import codecs
import collections.abc
import colorsys
import configparser
import contextlib
import contextvars
import copy
import csv
import dataclasses
import datetime
import decimal
import difflib
import encodings.ascii
import encodings.base64_codec
import encodings.cp1252
import encodings.cp437
import encodings.hex_codec
import encodings.idna
import encodings.latin_1
import encodings.punycode
import encodings.raw_unicode_escape
import encodings.rot_13
import encodings.unicode_escape
import encodings.utf_16
import encodings.utf_16_be
import encodings.utf_16_le
import encodings.utf_32
import encodings.utf_8
import encodings.utf_8_sig
import enum
import fnmatch
import fractions
import functools
import gc
import graphlib
import hashlib
import heapq
import hmac
import html.entities
import html.parser
import importlib.machinery
import inspect
import io
import ipaddress
import itertools
import json
import keyword
import linecache
import locale
import logging
import math
import mimetypes
import numbers
import operator
import os.path
import pathlib
import pickle
import pprint
import quopri
import random
import re
import reprlib
import secrets
import shlex
import statistics
import string
import stringprep
import struct
import sys
import textwrap
import time
import timeit
import tomllib
import traceback
import types
import typing
import unicodedata
import urllib.parse
import uuid
import warnings
import weakref
import xml.etree.ElementTree
import zlib

NETWORK = "there is no network in the sandbox"
PROCESSES = "code in the sandbox cannot start processes"
FILES = "there are no files in the sandbox"
NATIVE = "the sandbox runs no native code"

# Why a module is missing, by the first part of its name.
REASONS = {
    NETWORK: "_socket asyncio ftplib http imaplib nntplib poplib requests select selectors smtplib socket "
    "socketserver ssl _ssl telnetlib webbrowser xmlrpc aiohttp httpx",
    PROCESSES: "_posixsubprocess concurrent multiprocessing pty subprocess",
    FILES: "bz2 dbm fileinput filecmp glob gzip lzma mmap shelve shutil sqlite3 tarfile tempfile zipfile zipimport",
    NATIVE: "_ctypes cffi ctypes numpy pandas scipy",
}
WHY = {module: why for why, modules in REASONS.items() for module in modules.split()}


def _why(name):
    return WHY.get(name) or WHY.get(name.partition(".")[0])


class Denied:
    """Goes first: some of these are compiled into the interpreter and would fail in stranger ways."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        if why := _why(name):
            raise ModuleNotFoundError(f"no module named '{name}': {why}", name=name)


class Missing:
    """Goes last: what was not found so far is nowhere."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        raise ModuleNotFoundError(f"no module named '{name}': only a part of the standard library is built in", name=name)


def _no_files(*_, **__):
    raise PermissionError(f"{FILES}: hand the data over as an input")


def _no_processes(*_, **__):
    raise PermissionError(PROCESSES)


# Functions of `os` that could only fail, with a worse explanation.
OS_FILES = "chdir chmod link listdir makedirs mkdir open remove rename replace rmdir scandir symlink truncate unlink walk"
OS_PROCESSES = "execv fork popen posix_spawn spawnv system"


def close():
    """Ends the time in which modules are imported from files. Called once, while the component is built."""
    for name in [name for name in sys.modules if _why(name)]:
        del sys.modules[name]
    sys.meta_path[:] = [Denied, importlib.machinery.BuiltinImporter, Missing]
    sys.path.clear()
    sys.path_importer_cache.clear()
    builtins.open = io.open = _no_files
    for names, refuse in ((OS_FILES, _no_files), (OS_PROCESSES, _no_processes)):
        for name in names.split():
            setattr(os, name, refuse)
