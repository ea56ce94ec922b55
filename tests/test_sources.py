from __future__ import annotations

from testbed.services.sources import Source, Sources

N1, IX, ORIGIN = (Source(oca, f"https://{oca}/film/") for oca in ("oca-n1", "oca-ix1", "origin"))


def test_nothing_to_ask_before_the_first_list():
    assert Sources().current() is None
    assert Sources().expired(0)


def test_the_failed_one_goes_to_the_back():
    sources = Sources()
    sources.renew([N1, IX, ORIGIN], 30)
    sources.failed()
    assert sources.current() == IX
    sources.worked()
    sources.failed()
    sources.failed()
    assert sources.current() == N1
    sources.failed()
    assert sources.current() is None


def test_a_list_renewed_after_everything_failed_is_taken_as_it_is():
    sources = Sources()
    sources.renew([N1, IX], 30)
    sources.failed()
    sources.failed()
    sources.renew([N1, ORIGIN], 60)
    assert sources.current() == N1
    assert not sources.expired(59)
    assert sources.expired(60)


def test_a_session_stays_where_it_works_and_gets_new_fall_backs():
    sources = Sources()
    sources.renew([N1, IX], 30)
    sources.failed()
    sources.worked()
    sources.renew([N1, IX, ORIGIN], 60)
    assert sources.current() == IX
    sources.failed()
    assert sources.current() == N1
    sources.failed()
    assert sources.current() == ORIGIN


def test_without_an_answer_the_old_list_is_tried_again():
    sources = Sources()
    sources.renew([N1, IX], 30)
    sources.failed()
    sources.failed()
    sources.keep(40)
    assert sources.current() == N1
    assert not sources.expired(39)
