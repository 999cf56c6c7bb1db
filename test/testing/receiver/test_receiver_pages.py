# SPDX-License-Identifier: Apache-2.0
"""The pages for people: the index of scenes, and the review of one."""

from __future__ import annotations

from collections.abc import Callable

import requests
from receiver_driver import Driver, make_scene


def test_the_index_lists_everything_escaped(serve: Callable[..., Driver]) -> None:
    driver = serve(review_page=lambda _: b"")
    dataset = driver.create(name="<script>alert(1)</script>")
    driver.upload(dataset, make_scene('"><img src=x>'), make_scene("\ud800"))
    answer = requests.get(driver.receiver.origin, timeout=60)
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    assert "<script>" not in answer.text
    assert "<img" not in answer.text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in answer.text
    assert f'href="/review/{dataset}/%22%3E%3Cimg%20src%3Dx%3E"' in answer.text


def test_the_review_page_is_made_from_the_payload(serve: Callable[..., Driver]) -> None:
    driver = serve(review_page=lambda payload: f"<p>{payload['reference_id']}".encode())
    dataset = driver.create()
    driver.upload(dataset, make_scene("a b"))
    assert requests.get(f"{driver.receiver.origin}/review/{dataset}/a%20b", timeout=60).text == "<p>a b"
    assert requests.get(f"{driver.receiver.origin}/review/{dataset}/c", timeout=60).status_code == 404


def test_a_review_page_that_fails_is_500_without_a_traceback(serve: Callable[..., Driver]) -> None:
    driver = serve(review_page=lambda payload: payload["nothing"])
    dataset = driver.create()
    driver.upload(dataset, make_scene())
    answer = requests.get(f"{driver.receiver.origin}/review/{dataset}/s1", timeout=60)
    assert answer.status_code == 500
    assert "KeyError" not in answer.text
    assert "Traceback" not in answer.text


def test_without_a_page_maker_there_are_no_review_pages(driver: Driver) -> None:
    dataset = driver.create()
    driver.upload(dataset, make_scene())
    assert "href" not in requests.get(driver.receiver.origin, timeout=60).text
    assert requests.get(f"{driver.receiver.origin}/review/{dataset}/s1", timeout=60).status_code == 404
