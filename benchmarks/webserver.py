"""The time to find the questions for nginx, by the size of its configuration."""

from __future__ import annotations

import time
import tracemalloc

from certbot_qiniu.webserver import nginx_config

SITES = (500, 1000, 2000)
SNIPPETS = 4
SECONDS = 2.0
"""For the most sites."""
GEO_LINES = 1_000_000
MEBIBYTES = 50

_SITE = """server {{
    listen 443 ssl;
    listen [::]:443 ssl;
    server_name www{0}.example.com site{0}.example.com;
    ssl_certificate /etc/letsencrypt/live/example.com/fullchain.pem;
    ssl_certificate_key /etc/letsencrypt/live/example.com/privkey.pem;
{1}
    root /srv/www/site{0};
    location / {{
        try_files $uri $uri/ =404;
        proxy_set_header Host $host;
    }}
    location ~ \\.php$ {{
        include fastcgi_params;
        fastcgi_pass unix:/run/php/php-fpm.sock;
    }}
}}
"""
_SNIPPET = "add_header X-Frame-Options DENY;\nssl_session_cache shared:SSL:10m;\n"


def measure() -> list[str]:
    """Print a table, and answer which bounds do not hold."""
    print(f"\n| sites of nginx, with {SNIPPETS} snippets each | KiB | seconds | µs for each |\n"
          "|--:|--:|--:|--:|")  # of the processor
    for sites in SITES:
        text = _configuration(sites)
        begun = time.process_time()
        servers = nginx_config.parse_servers(text) or []
        asked = nginx_config.questions(servers, servers, ("*.example.com",))
        seconds = time.process_time() - begun
        print(f"| {sites} | {len(text) // 1024} | {seconds:.2f} | {seconds / sites * 1e6:.0f} |",
              flush=True)
        if len(asked) != 2 * sites:
            raise RuntimeError(f"{len(asked)} questions for {sites} sites")
    peak = _peak_for_geo()
    print(f"\n{GEO_LINES:,} lines of geo: {peak:.1f} MiB beside the text itself.")
    bounds = {f"{SITES[-1]} sites within {SECONDS} s": seconds <= SECONDS,
              f"geo within {MEBIBYTES} MiB": peak <= MEBIBYTES}
    return [bound for bound, holds in bounds.items() if not holds]


def _configuration(sites: int) -> str:
    files = [("nginx.conf", "events {}\nhttp { include sites/*; }\n")]
    for site in range(sites):
        names = [f"snippets/{site}-{number}.conf" for number in range(SNIPPETS)]
        files.append((f"sites/{site}", _SITE.format(
            site, "".join(f"    include {name};\n" for name in names))))
        files += [(name, _SNIPPET) for name in names]
    return "".join(f"# configuration file /etc/nginx/{name}:\n{text}\n" for name, text in files)


def _peak_for_geo() -> float:
    lines = "".join(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}/32 CN;\n"
                    for number in range(GEO_LINES))
    text = f"# configuration file /etc/nginx/nginx.conf:\nhttp {{ geo $x {{ {lines} }} }}\n"
    tracemalloc.start()
    nginx_config.parse_servers(text)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / 2**20


if __name__ == "__main__":
    raise SystemExit(len(measure()))
