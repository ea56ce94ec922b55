from __future__ import annotations

import json

from testbed.measure.served import served

LINE = {
    "t": "1767225605.250", "client": "10.1.64.1", "port": 40312, "request": "GET /film/400.mp4 HTTP/1.1",
    "status": 206, "body_bytes": 1000, "bytes": 1300, "request_id": "s0001-2", "time_s": 0.125,
    "tls": "TLSv1.3", "connection": 7,
}  # fmt: skip


def test_a_line_of_the_log_is_a_row_and_a_torn_one_is_none(tmp_path):
    (tmp_path / "oca-n1").mkdir()
    text = json.dumps(LINE)
    (tmp_path / "oca-n1" / "access.jsonl").write_text(f"{text}\n{text[:50]}")
    assert served(tmp_path, 1_767_225_600 * 10**9, {"10.1.64.1": "north.homes.1"}) == [{
        "t_ns": 5_250_000_000, "node": "oca-n1", "client": "north.homes.1", "sport": 40312,
        "request_id": "s0001-2", "method": "GET", "path": "/film/400.mp4", "status": 206, "body_bytes": 1000,
        "bytes": 1300, "took_ns": 125_000_000, "tls": "TLSv1.3", "connection": 7,
    }]  # fmt: skip
