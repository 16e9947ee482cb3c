"""Settings of `lifelong certify`."""

from dataclasses import dataclass

import tyro

from lifelong.experiments.runs.arguments import parse
from lifelong.experiments.runs.errors import UserError, check_fields
from lifelong.experiments.runs.names import check_stream
from lifelong.experiments.runs.sizes import Length, Lives, Seed

__all__ = ["CertifyConfig", "read"]


@dataclass(frozen=True)
class CertifyConfig:
    """Measure a stream's reference policies, from chance to the oracle.

    Args:
        streams: names of streams (see `lifelong list`); none is all that have a certificate.
        stream_options: settings of the stream in place of those that are certified.
        lives: number of lives of each policy; if not given, as the plan says.
        episodes: episodes of each life; if not given, as the plan or the stream says.
        seed: random seed of the lives; if not given 0, and 1 with --check, whose lives are to be other ones.
        check: compare with the stored certificates.
        store: write the certificates that come with the package.
        trust: import the code that a stream file names: an environment that is neither registered nor of an installed
            package.
    """

    streams: tyro.conf.Positional[tuple[str, ...]] = ()
    stream_options: tuple[str, ...] = ()
    lives: Lives | None = None
    episodes: Length | None = None
    seed: Seed | None = None
    check: bool = False
    store: bool = False
    trust: bool = False

    def __post_init__(self) -> None:
        """Validate the settings."""
        check_fields(self)
        if self.lives is not None and self.lives < 2:
            raise UserError(f"lives must be at least 2: lives={self.lives}")
        if self.check and self.store:
            raise UserError("check and store exclude each other: a certificate is not compared with itself")
        if self.stream_options and (self.check or self.store):
            raise UserError("stream_options cannot be checked or stored: certificates are for the planned settings")
        if self.stream_options and len(self.streams) != 1:
            raise UserError(f"stream_options are those of one stream: streams={list(self.streams)}")


def read(words: list[str]) -> CertifyConfig:
    """Return the settings that words of the command line ask for.

    Raises:
        UserError: if a word is wrong.
    """
    config = parse(CertifyConfig, words, "certify")
    for name in config.streams:
        check_stream(name)
    return config
