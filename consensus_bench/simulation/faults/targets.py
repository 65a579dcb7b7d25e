"""Whom a fault strikes, as text: ``leader``, ``any 2``, ``us-east-1``; links: ``a|b,c`` (between), ``a>b`` (one way).

A selector is one or more sites (``a,b``), ``leader``, ``follower`` (one of them), ``followers``, ``any K``,
``minority``, ``majority`` (so many, drawn), ``all``. A link target has sides: selectors, ``*`` (all other sites),
``replicas`` (of other sites) or ``clients`` (of all sites). Between sites, the links of replicas and of clients are
concerned; sites that are not named are not, so that ``a|c`` alone leaves a-b and b-c whole. A selector alone is
``selector|*``.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from random import Random
from typing import Final, NamedTuple

from consensus_bench.contract import ConfigError

ROLES: Final = ("leader", "follower", "followers", "minority", "majority", "all")
REST, REPLICAS, CLIENTS = "*", "replicas", "clients"
_ANY: Final = re.compile(r"any[ -]?(\d+)")


class Selector(NamedTuple):
    """``role``: one of ``ROLES``, "any" (then ``many``), "sites" (then ``sites``), or a side of links alone."""

    role: str
    sites: tuple[str, ...] = ()
    many: int = 0


class Links(NamedTuple):
    """The links between any two of ``sides``; ``one_way``: only those from the first to the second."""

    sides: tuple[Selector, ...]
    one_way: bool = False


def parse_selector(text: str) -> Selector:
    """Replicas; ``ConfigError`` for nothing."""
    text = text.strip()
    if text in ROLES:
        return Selector(text)
    if match := _ANY.fullmatch(text):
        return Selector("any", many=int(match[1]))
    sites = tuple(site.strip() for site in text.split(","))
    if not all(sites):
        raise ConfigError(f"target '{text}' names no site or replica: give a site, leader, follower or 'any K'")
    return Selector("sites", sites)


def parse_links(text: str) -> Links:
    """Links; ``ConfigError`` for what is none."""
    one_way = ">" in text
    parts = [part.strip() for part in re.split(r"[|>]", text)]
    if one_way and ("|" in text or len(parts) != 2):
        raise ConfigError(f"target '{text}': one way is from one side to one other, as in leader>*")
    sides = tuple(Selector(part) if part in (REST, REPLICAS, CLIENTS) else parse_selector(part) for part in parts)
    if len(sides) == 1:
        sides = (*sides, Selector(REST))
    chosen = [side for side in sides if side.role not in (REST, REPLICAS, CLIENTS)]
    if len(sides) - len(chosen) > 1 or not chosen or (len(sides) > len(chosen) and len(sides) > 2):
        raise ConfigError(f"target '{text}': give selectors on all sides, or one and '*', 'replicas' or 'clients'")
    return Links(sides, one_way)


def check_selector(selector: Selector, sites: Sequence[str], client_sites: Sequence[str] = ()) -> None:
    """Raise ``ConfigError`` for a site that holds no replica (nor clients, where these count), or too many of any."""
    known = (*sites, *(site for site in client_sites if site not in sites))
    for position, site in enumerate(selector.sites):
        if site not in known:
            near = difflib.get_close_matches(site, (*known, *ROLES), n=1)
            hint = f"; did you mean '{near[0]}'?" if near else f": choose from {', '.join(known)}, {', '.join(ROLES)}"
            what = "site" if client_sites else "replica's site"
            raise ConfigError(f"target: there is no {what} '{site}'{hint}")
        if site in selector.sites[:position]:
            raise ConfigError(f"target: site '{site}' is named twice")
    if selector.role == "any" and not 1 <= selector.many <= len(sites):
        raise ConfigError(f"target 'any {selector.many}': there are {len(sites)} replicas")


def size_of(selector: Selector, replicas: int) -> int:
    """How many replicas it is."""
    sizes = {"leader": 1, "follower": 1, "followers": replicas - 1, "all": replicas}
    sizes |= {"minority": (replicas - 1) // 2, "majority": replicas // 2 + 1}
    return len(selector.sites) if selector.role == "sites" else sizes.get(selector.role, selector.many)


def needs_leader(selector: Selector) -> bool:
    """Whether it depends on who leads."""
    return selector.role in ("leader", "follower", "followers")


def choose(selector: Selector, sites: Sequence[str], leader: int | None, draw: Random) -> list[int]:
    """The replicas it means now, by number (sites without a replica are none)."""
    everyone = list(range(len(sites)))
    if selector.role == "sites":
        return [sites.index(site) for site in selector.sites if site in sites]
    if needs_leader(selector):
        assert leader is not None
        others = [replica for replica in everyone if replica != leader]
        if selector.role == "leader":
            return [leader]
        return others if selector.role == "followers" else [draw.choice(others)]
    if selector.role == "all":
        return everyone
    return sorted(draw.sample(everyone, size_of(selector, len(sites))))
