"""Ratings, items that nobody has met, and what files say of items: from files to figures."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import yaml

from pipeline.errors import HourglassError, UsageError
from training.protocols import table
from training.protocols.metadata import ITEM_FORMATS, MetadataTable, features_of, read_items
from training.protocols.protocol import read_protocol
from training.protocols.raw_files import FORMATS, read_log
from training.protocols.run import chosen_models, run_protocol

FILES = {
    "movielens_csv": (
        "movies.csv",
        'movieId,title,genres\n1,"Heat, The (1995)",Crime|Drama\n2,Nameless,(no genres listed)\n',
    ),
    "movielens_dat": (
        "movies.dat",
        "1::Star: A War (1995)::Crime|Drama\n2::Am\xe9lie::(no genres listed)\n",
    ),
    "item": (
        "ml.item",
        "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\n"
        "1\tHeat\t1995\tCrime Drama\n2\tNameless\t\t(no\n",
    ),
}


@pytest.mark.parametrize("name", FILES)
def test_genres_and_years_of_films_are_read(tmp_path: Path, name: str) -> None:
    file, text = FILES[name]
    path = tmp_path / file
    path.write_bytes(text.encode("latin-1" if name == "movielens_dat" else "utf-8"))
    table = read_items([path], ITEM_FORMATS[name])
    assert table.ids.tolist() == ["1", "2"]
    assert list(table.tokens[0]) == ["Crime", "Drama", "year 1995"]
    assert len(table.tokens[1]) == 1  # what stands for no genre, and no year
    assert table.numbers["year"].tolist() == pytest.approx([1995, np.nan], nan_ok=True)


EVENTS = {
    "taobao": ("UserBehavior.csv", "1,10,7,pv,5\n1,11,8,buy,6\n2,10,9,pv,7\n"),
    "ali_mobile": (
        "tianchi_mobile_recommend_train_user.csv",
        "user_id,item_id,behavior_type,user_geohash,item_category,time\n"
        "1,10,1,,7,2014-12-06 02\n1,11,4,97q,8,2014-12-06 02\n2,10,1,,9,2014-12-06 03\n",
    ),
    "yoochoose": (
        "yoochoose-clicks.dat",
        "1,2014-04-07T10:51:09.277Z,10,7\n1,2014-04-07T10:54:09.868Z,11,8\n"
        "2,2014-04-07T10:55:09.868Z,10,9\n",
    ),
}


@pytest.mark.parametrize("lines_a_piece", [1, 2, 1000])
@pytest.mark.parametrize("name", EVENTS)
def test_the_category_of_an_item_is_that_of_its_first_event(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, lines_a_piece: int
) -> None:
    monkeypatch.setattr("training.protocols.metadata._LINES_A_PIECE", lines_a_piece)
    file, text = EVENTS[name]
    path = tmp_path / file
    path.write_text(text)
    table = read_items([path], ITEM_FORMATS[name])
    assert table.ids.tolist() == ["10", "11"]
    assert table.tokens == [["7"], ["8"]]
    assert not table.numbers


def test_a_file_of_items_without_a_column_is_named(tmp_path: Path) -> None:
    path = tmp_path / "movies.csv"
    path.write_text("movieId,title\n1,Heat (1995)\n")
    with pytest.raises(HourglassError, match=r"movies\.csv: no column 'genres': its columns are"):
        read_items([path], ITEM_FORMATS["movielens_csv"])


def test_features_are_those_of_each_id_and_nothing_of_an_unknown_one() -> None:
    table = MetadataTable(
        np.array(["a", "b", "c"], object),
        [["x", "y"], [], ["y"]],
        {"n": np.array([1.0, 3.0, np.nan])},
    )
    ids = np.array(["b", "new", "a", "c"], object)
    features = features_of(table, ids, np.array([True, True, True, False]))
    names = [
        [features.token_names[code] for code in features.token[start:stop]]
        for start, stop in zip(features.offsets, features.offsets[1:], strict=False)
    ]
    assert names == [[], [], ["x", "y"], ["y"]]
    assert features.numbers[:, 0].tolist() == [1, 0, -1, 0]  # mean 2, deviation 1; unknown: 0


def test_a_line_of_an_item_stands_above_its_events(tmp_path: Path) -> None:
    path = tmp_path / "combined_data_1.txt"
    path.write_text("1:\n10,3,2005-09-06\n11,5,2005-12-06\n23:\n10,4,2005-12-19\n")
    log = read_log([path], FORMATS["netflix"])
    events = zip(log.user_ids[log.user], log.item_ids[log.item], log.value, strict=True)
    assert sorted(events) == [("10", "1", 3), ("10", "23", 4), ("11", "1", 5)]
    path.write_text("10,3,2005-09-06\n1:\n")
    with pytest.raises(HourglassError, match="the first line is no item and a colon"):
        read_log([path], FORMATS["netflix"])


@pytest.fixture
def films(tmp_path: Path) -> Path:
    """Users who like what is even, or what is odd, and rate all as their own mean says."""
    rng = np.random.default_rng(0)
    lines = ["userId,movieId,rating,timestamp"]
    for user in range(40):
        for nth, film in enumerate(rng.permutation(20)[:12]):
            movie = 2 * film + user % 2
            lines.append(f"{user},{movie},{1 + user % 5},{1_000_000_000 + user * 97 + nth * 90000}")
    (tmp_path / "ratings.csv").write_text("\n".join(lines) + "\n")
    titles = [
        f"{film},Film {film} (1990),{'Even' if film % 2 == 0 else 'Odd'}" for film in range(40)
    ]
    (tmp_path / "movies.csv").write_text("movieId,title,genres\n" + "\n".join(titles) + "\n")
    return tmp_path


def figures(folder: Path, **changes: object) -> dict[str, dict[str, float]]:
    """What the models of a protocol reach, by model and column."""
    content = {"id": "OWN", "paper": "none", "title": "a test", **changes}
    path = folder / "own.yaml"
    path.write_text(yaml.safe_dump(content))
    protocol = read_protocol(str(path))
    models = chosen_models(protocol, [])
    (result,) = run_protocol(protocol, folder, [0], models, lambda _: nullcontext(), lambda _: None)
    assert not [row.note for row in result.rows if row.failed]
    return {row.name: {k: v.mean for k, v in row.reached.items()} for row in result.rows}


RATINGS = {
    "data": {"films": {"format": "movielens_csv"}},
    "split": {"kind": "time_share", "share": 0.7},
    "questions": {"targets": "rating", "repeats": "keep", "metrics": ["rmse"]},
}


def test_ratings_are_predicted_beside_averages_that_go_on(films: Path) -> None:
    parameters = {"epochs": 2, "validation_share": 0.0, "width": 8}
    reached = figures(
        films,
        **RATINGS,
        models={
            "mean": {"type": "mean"},
            "rolling": {"type": "rolling_average"},
            "hrnn": {"type": "hrnn_rating", "parameters": parameters},
        },
    )
    values = np.array([1 + user % 5 for user in range(40)])
    # Each user's every rating is their own mean: an average of none would miss by the spread.
    assert reached["mean"]["RMSE"] == pytest.approx(values.std(), abs=0.2)
    assert reached["rolling"]["RMSE"] < 0.7 * reached["mean"]["RMSE"]
    assert 0 < reached["hrnn"]["RMSE"] < 2


def test_a_table_says_when_nothing_was_published_of_a_log(films: Path) -> None:
    path = films / "own.yaml"
    protocol = {"id": "OWN", "paper": "none", "title": "a test", **RATINGS}
    path.write_text(yaml.safe_dump({**protocol, "models": {"mean": {"type": "mean"}}}))
    read = read_protocol(str(path))
    (result,) = run_protocol(read, films, [0], read.models, lambda _: nullcontext(), lambda _: None)
    assert "nothing was published of this log" in table.text(result)


def test_a_log_without_values_has_no_ratings_to_predict(films: Path) -> None:
    own = {"format": "own", "files": ["*/ratings.csv"],
           "columns": {"user": "userId", "item": "movieId", "time": "timestamp"}}  # fmt: skip
    with pytest.raises(UsageError, match="no event of this log has a value"):
        figures(films, **{**RATINGS, "data": {"x": own}}, models={"mean": {"type": "mean"}})


def test_held_out_items_are_listed_by_what_is_known_of_them(films: Path) -> None:
    parameters = {
        "epochs": 20, "validation_share": 0.0, "negatives": 0, "trend": False, "width": 16,
        "user_features": False, "learning_rate": 0.02, "dropout": 0.1, "input_dropout": 0.1,
    }  # fmt: skip
    reached = figures(
        films,
        data={"films": {"format": "movielens_csv", "items": "movielens_csv"}},
        split={"kind": "cold_items", "seed": 1},
        questions={"targets": "cold_list", "repeats": "keep", "k": [5],
                   "metrics": ["mrr_all", "set_precision", "ndcg"]},
        models={"random": {"type": "random"},
                "meta": {"type": "hrnn_meta", "parameters": parameters}},
    )  # fmt: skip
    assert set(reached["random"]) == {"MRR", "Precision@5", "NDCG@5"}
    # Half of the held-out films are of the wrong kind for each user.
    assert reached["meta"]["Precision@5"] > reached["random"]["Precision@5"] + 0.15
    assert reached["meta"]["MRR"] > reached["random"]["MRR"]


def test_what_describes_the_items_must_be_there(films: Path) -> None:
    (films / "movies.csv").unlink()
    with pytest.raises(UsageError, match="which says what the items are: put it beside"):
        figures(
            films,
            data={"films": {"format": "movielens_csv", "items": "movielens_csv"}},
            split={"kind": "random_users", "learned": 0.5, "tested": 0.5},
            questions={"targets": "last", "repeats": "keep", "k": [5], "metrics": ["recall"]},
            models={"pop": {"type": "pop"}},
        )


@pytest.mark.parametrize(
    ("split", "questions", "sentence"),
    [
        ({"kind": "cold_items"}, {"targets": "last", "metrics": ["recall"]}, "go together"),
        ({"kind": "leave_last_out"}, {"targets": "cold_list", "metrics": ["ndcg"]}, "go together"),
        ({"kind": "leave_last_out"}, {"targets": "rating", "metrics": ["recall"]}, "has no recall"),
        ({"kind": "leave_last_out"}, {"targets": "last", "metrics": ["rmse"]}, "rmse is of"),
        ({"kind": "cold_items"}, {"targets": "cold_list", "metrics": ["mrr"]}, "has no mrr"),
    ],
)
def test_what_does_not_go_together_is_refused(
    films: Path, split: dict[str, object], questions: dict[str, object], sentence: str
) -> None:
    with pytest.raises(UsageError, match=sentence):
        figures(
            films,
            data={"films": {"format": "movielens_csv"}},
            split=split,
            questions={"repeats": "keep", "k": [5], **questions},
            models={"pop": {"type": "pop"}},
        )
