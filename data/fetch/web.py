"""How is a server asked, so that no answer is endless, oversized or from elsewhere?"""

import json
import urllib.request
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode, urljoin, urlsplit

from data.errors import ParameterError, SourceError
from data.fetch.waiting import TryAgain, Waiter, retry_after

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse, PoolManager

CHUNK = 1 << 18
SMALL = 64 << 20  # bytes of an answer that is held in memory
_HEADERS = {"User-Agent": "marginlab", "Accept-Encoding": "identity"}  # the checksum is of the bytes as they are kept
_REDIRECTS = 5
_REMARK = 1 << 16  # bytes that an answer about nothing may have
_MOVED = (301, 302, 303, 307, 308)
_LATER = (408, 418, 425, 429, 500, 502, 503, 504)  # 418 is Binance's word to those who did not heed 429


class Absent(SourceError):
    """The server has nothing under that name."""


@dataclass(frozen=True)
class Terms:
    """What is expected of a server.

    Parameters
    ----------
    connect, read : seconds for a connection, and for the next bytes of an answer.
    least, over : bytes a second that an answer must have on average over so many seconds, lest a slow drip never ends.
    largest : bytes of one file.

    Raises
    ------
    ParameterError
        If one of them is not positive.
    """

    connect: float = 10.0
    read: float = 30.0
    least: float = 1024.0
    over: float = 30.0
    largest: int = 64 << 30

    def __post_init__(self) -> None:
        if min(self.connect, self.read, self.least, self.over, self.largest) <= 0:
            raise ParameterError(f"terms must be positive, got {self}")


class Web:
    """A server at a base address, asked from any number of threads.

    Parameters
    ----------
    base : "https://data.binance.vision/"; http too, where one's own mirror speaks nothing else.
    waiter : paces and repeats requests.
    terms : what an answer must keep to.
    connections : at once, at most.

    Proxies of the environment ($HTTPS_PROXY, $NO_PROXY) are honoured, and the system's certificates.

    Raises
    ------
    ParameterError
        If the address is none of http or https, or holds a password.
    """

    def __init__(
        self, base: str, waiter: Waiter | None = None, terms: Terms | None = None, connections: int = 4
    ) -> None:
        try:
            parts = urlsplit(base)
            host, strange = parts.hostname, parts.username or parts.password or parts.query or parts.fragment
        except ValueError as error:
            raise ParameterError(f"the base address must be a URL, got {base!r}: {error}") from error
        if parts.scheme not in ("http", "https") or not host or strange:
            shown = parts._replace(netloc=host or "", query="", fragment="").geturl()
            raise ParameterError(f"the base address must be http(s)://HOST/PATH without user or query, got {shown!r}")
        self.base = base.rstrip("/") + "/"
        self.waiter = waiter or Waiter()
        self.terms = terms or Terms()
        self._pool = _pool(self.base, self.terms, connections)
        self._lost = 0  # files in a row that no connection came about for

    def url(self, path: str, query: Mapping[str, str | int] | None = None) -> str:
        """The address of what is at `path` below the base."""
        return urljoin(self.base, quote(path)) + (f"?{urlencode(query)}" if query else "")

    @contextmanager
    def opened(
        self, url: str, headers: Mapping[str, str] | None = None, method: str = "GET"
    ) -> "Iterator[BaseHTTPResponse]":
        """An answer of status 200, 206 or 416, its body not yet read.

        Raises
        ------
        Absent
            At status 404 and 410.
        TryAgain
            Where the server is busy, out of order or out of reach, or the answer breaks off while it is read.
        SourceError
            Where it refuses, or redirects to another scheme or without end.
        """
        self.waiter.turn()
        with _translated(url):
            response = self._answer(url, {**_HEADERS, **(headers or {})}, method)
            try:
                self._lost = 0
                self._judge(response, url)
                yield response
            finally:
                _part_from(response)

    def chunks(self, response: "BaseHTTPResponse", limit: int) -> Iterator[bytes]:
        """The body as it comes; TryAgain where it is slower than the terms allow, SourceError beyond `limit` bytes."""
        clock = self.waiter.timing.clock
        begun, since, total = clock(), 0, 0
        while piece := response.read1(CHUNK, decode_content=False):
            self.waiter.go_on()
            total, since = total + len(piece), since + len(piece)
            if total > limit:
                raise SourceError(f"expected {limit:,} bytes at most, got more")
            yield piece
            passed = clock() - begun
            if passed >= self.terms.over:
                if since < self.terms.least * passed:
                    raise TryAgain(f"slower than {self.terms.least:.0f} bytes a second: {since} in {passed:.0f} s")
                begun, since = clock(), 0

    def small(self, url: str, limit: int = SMALL) -> bytes:
        """A whole answer in memory; raises what `opened` and `chunks` raise, TryAgain too where it is cut short."""
        with self.opened(url) as response:
            body = b"".join(self.chunks(response, limit))
            told = length_of(response)
            if told is not None and told != len(body):
                raise TryAgain(f"the answer ended after {len(body):,} of {told:,} bytes")
            return body

    def document(self, path: str, query: Mapping[str, str | int]) -> Any:
        """An answer in JSON; raises what `small` raises, SourceError where it is none."""
        body = self.small(self.url(path, query))
        try:
            return json.loads(body)
        except (ValueError, RecursionError) as error:
            raise SourceError(f"{path} must answer in JSON, got {body[:80]!r}") from error

    def exists(self, path: str) -> bool:
        """Whether the server has something there; raises what `opened` raises, but Absent."""
        try:
            with self.opened(self.url(path), method="HEAD"):
                return True
        except Absent:
            return False

    def lost(self, error: TryAgain) -> None:
        """Count a file for which no connection came about."""
        self._lost += error.unreachable

    def reachable(self) -> None:
        """SourceError where file after file found nobody there: the others are not waited for one by one."""
        if self._lost >= 3:
            raise SourceError(f"not tried, as {urlsplit(self.base).hostname} cannot be reached (no network?)")

    def _answer(self, url: str, headers: Mapping[str, str], method: str) -> "BaseHTTPResponse":
        """The answer, redirects followed within the scheme."""
        at = url
        for _ in range(_REDIRECTS + 1):
            response = self._pool.request(
                *(method, at), headers=headers, preload_content=False, redirect=False, retries=False
            )
            moved = response.headers.get("Location") if response.status in _MOVED else None
            if moved is None:
                return response
            _part_from(response)
            at = _redirected(at, moved)
        raise SourceError(f"redirected more than {_REDIRECTS} times")

    def _judge(self, response: "BaseHTTPResponse", url: str) -> None:
        status = response.status
        if status in (200, 206, 416):
            return
        if status in (404, 410):
            if (length_of(response) or 0) <= _REMARK:
                # read to its end, the connection serves the next request
                deque(self.chunks(response, _REMARK), maxlen=0)
            raise Absent(f"nothing under {urlsplit(url).path}")
        if status in _LATER:
            after = retry_after(response.headers.get("Retry-After"), self.waiter.timing.now())
            raise TryAgain(f"the server answered {status}", after)
        said = response.read1(300, decode_content=False) if response.headers.get("Content-Length") != "0" else b""
        hint = " (not served where you are?)" if status in (403, 451) else ""
        raise SourceError(f"the server answered {status}{hint}{f': {said!r}' if said else ''}")


def _redirected(url: str, to: str) -> str:
    """Where a redirect leads; SourceError where it is to another scheme."""
    try:
        address = urljoin(url, to)
        before, after = urlsplit(url).scheme, urlsplit(address).scheme
    except ValueError as error:
        raise SourceError(f"redirected to {to[:200]!r}, which is no address") from error
    if before != after:
        raise SourceError(f"redirected from {before} to {after or address!r}: refused")
    return address


def _part_from(response: "BaseHTTPResponse") -> None:
    """Give the connection back; what is unread of a body is not waited for."""
    response.close()
    response.release_conn()


def length_of(response: "BaseHTTPResponse") -> int | None:
    """The bytes that an answer announces, None where it does not."""
    told = response.headers.get("Content-Length", "")
    return int(told) if told.isdecimal() and len(told) < 20 else None


def _pool(base: str, terms: Terms, connections: int) -> "PoolManager":
    from urllib3 import PoolManager, ProxyManager, Timeout

    parts = urlsplit(base)
    proxy = urllib.request.getproxies().get(parts.scheme)
    kept: dict[str, Any] = {"timeout": Timeout(connect=terms.connect, read=terms.read), "maxsize": connections}
    if proxy and not urllib.request.proxy_bypass(parts.hostname or ""):
        return ProxyManager(proxy if "://" in proxy else f"http://{proxy}", **kept)
    return PoolManager(**kept)


@contextmanager
def _translated(url: str) -> Iterator[None]:
    """What urllib3 raises, in our words."""
    from urllib3 import exceptions as http

    host = urlsplit(url).hostname
    try:
        yield
    except http.SSLError as error:
        raise SourceError(f"no trusted connection to {host}: {error}") from error
    except (http.NewConnectionError, http.ConnectTimeoutError, http.ProxyError) as error:
        raise TryAgain(f"could not reach {host} (no network?)", unreachable=True) from error
    except http.ReadTimeoutError as error:
        raise TryAgain(f"{host} said nothing for too long") from error
    except (http.HTTPError, ConnectionError, TimeoutError) as error:
        raise TryAgain(f"the connection to {host} broke: {type(error).__name__}") from error
