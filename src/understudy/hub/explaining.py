"""What goes wrong with a hub, each in one line that says what to do."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from ..errors import InputError, UnderstudyError, WorkError, first_line
from .names import Repo


class NoRevisionError(InputError):
    """A repository has no branch, tag or commit of that name."""


@contextmanager
def explained(repo: Repo, doing: str = "downloaded") -> Iterator[None]:
    """Turn the errors of the hub's client into ours; a full disk stays the OSError that it is."""
    try:
        yield
    except UnderstudyError:
        raise
    except Exception as error:  # the client's, those of two HTTP libraries, of hf_xet, and its own ValueErrors
        if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise _explanation(repo, error, doing) from None


def absent(repo: Repo, reason: str) -> InputError:
    """What to say of a repository that is needed, not here, and out of reach."""
    where = f"{repo.title} is not on this machine, and {reason}"
    return InputError(f"{where}: run `{repo.command}` where there is a network, and copy the cache")


def _explanation(repo: Repo, error: Exception, doing: str) -> UnderstudyError:
    from huggingface_hub import constants
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    if isinstance(error, LocalEntryNotFoundError) and isinstance(error.__cause__, Exception):
        error = error.__cause__
    page = f"{constants.ENDPOINT}/{'datasets/' if repo.kind == 'dataset' else ''}{repo.name}"
    login = "log in (`hf auth login`, or a token in HF_TOKEN)"
    if isinstance(error, OfflineModeIsEnabled):
        return absent(repo, "the hub is switched off (HF_HUB_OFFLINE)")
    if isinstance(error, GatedRepoError):
        return InputError(f"{repo.title} is gated: accept its terms at {page}, then {login}")
    if isinstance(error, RevisionNotFoundError):
        return NoRevisionError(f"{repo.title}: no such revision; see {page}/tree/main")
    if isinstance(error, RepositoryNotFoundError):
        return InputError(f"{repo.title} does not exist on the hub, or is private: check the name, or {login}")
    status = getattr(getattr(error, "response", None), "status_code", None)
    if isinstance(error, HfHubHTTPError) and status in (401, 403):
        return InputError(f"{repo.title} cannot be {doing}: the hub refuses it ({status}); {login} with a token for it")
    if type(error).__module__.partition(".")[0] in ("httpx", "httpx2", "requests") or isinstance(
        error, ConnectionError
    ):
        reason = f"the hub cannot be reached ({first_line(error)})"
        if doing == "downloaded":
            return absent(repo, reason)
        return WorkError(f"{repo.title} cannot be {doing}: {reason}; run the same command again")
    return WorkError(f"{repo.title} cannot be {doing}: {first_line(error)}")
