"""Each format as its publisher writes it; what is wrong with a file is said in one sentence."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from small_logs import rows_of

from pipeline.errors import HourglassError
from training.protocols.events import Log
from training.protocols.raw_files import FORMATS, files_of, read_log

CLICKS = (
    "1,2014-04-07T10:51:09.277Z,214536502,0\n"
    "1,2014-04-07T10:54:09.868Z,214536500,S\n"
    "2,2014-04-07T13:56:37.614Z,214662742,0\n"
)
# File, its text, and the first event.
SAMPLES: dict[str, tuple[str, str, tuple[str, str, int]]] = {
    "yoochoose": ("yoochoose-clicks.dat", CLICKS, ("1", "214536502", 1_396_867_869_277_000)),
    "yoochoose_prepared": (
        "clicks_train_full.txt",
        "SessionId\tItemId\tTime\n3\t214716935\t1396437466.94\n",
        ("3", "214716935", 1_396_437_466_940_000),
    ),
    "movielens_csv": (
        "ml-20m/ratings.csv",
        "userId,movieId,rating,timestamp\n1,2,3.5,1112486027\n",
        ("1", "2", 1_112_486_027_000_000),
    ),
    "movielens_dat": (
        "ml-1m/ratings.dat",
        "1::1193::5::978300760\n1::661::3::978302109\n",
        ("1", "1193", 978_300_760_000_000),
    ),
    "movielens_100k": ("u.data", "196\t242\t3\t881250949\n", ("196", "242", 881_250_949_000_000)),
    "inter": (
        "ml.inter",
        "user_id:token\titem_id:token\trating:float\ttimestamp:float\n196\t242\t3\t881250949\n",
        ("196", "242", 881_250_949_000_000),
    ),
    "netflix": (
        "combined_data_1.txt",
        "1:\n1488844,3,2005-09-06\n",
        ("1488844", "1", 1_125_964_800_000_000),
    ),
    "amazon": (
        "ratings_Electronics.csv",
        "AKM1MP6P0OYPR,0132793040,5.0,1365811200\n",
        ("AKM1MP6P0OYPR", "0132793040", 1_365_811_200_000_000),
    ),
    "amazon_2018": (
        "Electronics.csv",
        "0132793040,AKM1MP6P0OYPR,5.0,1365811200\n",
        ("AKM1MP6P0OYPR", "0132793040", 1_365_811_200_000_000),
    ),
    "taobao": (
        "UserBehavior.csv",
        "1,2268318,2520377,pv,1511544070\n1,2268318,2520377,buy,1511544071\n",
        ("1", "2268318", 1_511_544_070_000_000),
    ),
    "ali_mobile": (
        "tianchi_mobile_recommend_train_user.csv",
        "user_id,item_id,behavior_type,user_geohash,item_category,time\n"
        "98047837,232431562,1,,4245,2014-12-06 02\n",
        ("98047837", "232431562", 1_417_831_200_000_000),
    ),
    "reddit": (
        "reddit_data.csv",
        "username,subreddit,utc\nkabanossi,photoshopbattles,1482748099.0\n",
        ("kabanossi", "photoshopbattles", 1_482_748_099_000_000),
    ),
    "wikipedia": (
        "wikipedia.csv",
        "user_id,item_id,timestamp,state_label,comma_separated_list_of_features\n"
        "0,8227,36.0,0,-0.17,0.5,0.1\n",
        ("0", "8227", 1_522_540_836_000_000),
    ),
    "deskdrop": (
        "users_interactions.csv",
        "timestamp,eventType,contentId,personId,sessionId,userAgent,userRegion,userCountry\n"
        "1465413032,VIEW,-3499919498720038879,-8845298781299428018,1,,,\n",
        ("-8845298781299428018", "-3499919498720038879", 1_465_413_032_000_000),
    ),
}


def read(folder: Path, name: str) -> Log:
    form = FORMATS[name]
    return read_log(files_of(folder, form.files), form)


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("zipped", [False, True], ids=["plain", "gz"])
def test_every_format_reads(tmp_path: Path, name: str, zipped: bool) -> None:
    file, text, first = SAMPLES[name]
    path = tmp_path / (f"{file}.gz" if zipped and name != "movielens_100k" else file)
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    assert rows_of(read(tmp_path, name))[0] == first
    assert files_of(path, FORMATS[name].files) == [path]


def test_ids_that_look_like_numbers_or_nothing_are_text(tmp_path: Path) -> None:
    (tmp_path / "ratings_x.csv").write_text("007,NA,5,0\n7,null,4,1\n")
    log = read(tmp_path, "amazon")
    assert [row[:2] for row in rows_of(log)] == [("007", "NA"), ("7", "null")]
    assert log.value.tolist() == [5, 4]


def test_types_are_read_and_chosen(tmp_path: Path) -> None:
    (tmp_path / "UserBehavior.csv").write_text("1,10,5,pv,0\n1,11,5,buy,1\n2,10,5,pv,2\n")
    form = FORMATS["taobao"]
    log = read_log(files_of(tmp_path, form.files), form, event_types=["buy"])
    assert rows_of(log) == [("1", "11", 1_000_000)]
    assert log.event_types[log.event_type[0]] == "buy"


def test_two_files_that_number_their_sessions_anew_are_kept_apart(tmp_path: Path) -> None:
    head = "SessionId\tItemId\tTime\n"
    (tmp_path / "a_test.txt").write_text(head + "1\t10\t5\n")
    (tmp_path / "a_train_full.txt").write_text(head + "1\t11\t1\n1\t10\t2\n")
    log = read(tmp_path, "yoochoose_prepared")
    assert [row[:2] for row in rows_of(log)] == [
        ("a_test-1", "10"), ("a_train_full-1", "11"), ("a_train_full-1", "10"),
    ]  # fmt: skip


def test_sessions_end_by_silence_or_not_at_all(tmp_path: Path) -> None:
    (tmp_path / "UserBehavior.csv").write_text("1,1,5,pv,0\n1,2,5,pv,3599\n1,3,5,pv,7199\n")
    form, files = FORMATS["taobao"], [tmp_path / "UserBehavior.csv"]
    assert read_log(files, form).session.tolist() == [0, 0, 1]
    assert read_log(files, form, gap_s=60).session.tolist() == [0, 1, 2]
    assert read_log(files, form, gap_s=None).session.tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    ("name", "file", "text", "sentence"),
    [
        ("inter", "x.inter", "user_id:token\titem:token\n1\t2\n", "no column 'item_id'"),
        ("movielens_csv", "ratings.csv", "", "cannot be read"),
        ("movielens_csv", "ratings.csv", "userId,movieId,rating,timestamp\n", "no event"),
        ("amazon", "ratings_x.csv", "a,b\n", "cannot be read"),
        ("amazon", "ratings_x.csv", "a,b,5,1\n,b,5,1\n", "event 2 has no user"),
        ("amazon", "ratings_x.csv", "a,b,5,1\na,b,5,x\n", "event 2: 'x' is no time"),
        ("amazon", "ratings_x.csv", "a,b,good,1\n", "event 1: 'good' is no value"),
        ("yoochoose", "yoochoose-clicks.dat", "1,yesterday,5,0\n", "ISO 8601"),
        ("yoochoose", "yoochoose-clicks.dat.gz", "not zipped", "cannot be read"),
    ],
)
def test_a_file_that_is_wrong_is_named(
    tmp_path: Path, name: str, file: str, text: str, sentence: str
) -> None:
    (tmp_path / file).write_text(text)
    with pytest.raises(HourglassError, match=sentence) as error:
        read(tmp_path, name)
    assert str(tmp_path / file) in str(error.value)
    assert "\n" not in str(error.value)
