"""The questions of the h2o db-benchmark in SQL, as that has them for DuckDB."""

from __future__ import annotations

from benchmarks.h2o.data import TABLES

QUERIES: dict[str, str] = {
    "g1": "select id1, sum(v1) as v1 from {groups} group by id1",
    "g2": "select id1, id2, sum(v1) as v1 from {groups} group by id1, id2",
    "g3": "select id3, sum(v1) as v1, avg(v3) as v3 from {groups} group by id3",
    "g4": "select id4, avg(v1) as v1, avg(v2) as v2, avg(v3) as v3 from {groups} group by id4",
    "g5": "select id6, sum(v1) as v1, sum(v2) as v2, sum(v3) as v3 from {groups} group by id6",
    "g6": "select id4, id5, quantile_cont(v3, 0.5) as median_v3, stddev(v3) as sd_v3 from {groups} group by id4, id5",
    "g7": "select id3, max(v1) - min(v2) as range_v1_v2 from {groups} group by id3",
    "g8": """
select id6, v3 as largest2_v3
from (
  select id6, v3, row_number() over (partition by id6 order by v3 desc) as place from {groups} where v3 is not null)
where place <= 2
""",
    "g9": "select id2, id4, pow(corr(v1, v2), 2) as r2 from {groups} group by id2, id4",
    "g10": """
select id1, id2, id3, id4, id5, id6, sum(v3) as v3, count(*) as count
from {groups}
group by id1, id2, id3, id4, id5, id6
""",
    "j1": "select x.*, r.id4 as id4_right, r.v2 from {x} x join {small} r using (id1)",
    "j2": """
select x.*, r.id1 as id1_right, r.id4 as id4_right, r.id5 as id5_right, r.v2 from {x} x join {medium} r using (id2)
""",
    "j3": """
select x.*, r.id1 as id1_right, r.id4 as id4_right, r.id5 as id5_right, r.v2 from {x} x left join {medium} r using (id2)
""",
    "j4": """
select x.*, r.id1 as id1_right, r.id2 as id2_right, r.id4 as id4_right, r.v2 from {x} x join {medium} r using (id5)
""",
    "j5": """
select x.*, r.id1 as id1_right, r.id2 as id2_right, r.id4 as id4_right, r.id5 as id5_right, r.id6 as id6_right, r.v2
from {x} x join {big} r using (id3)
""",
}
"""The text of the questions by name."""


def statement(query: str, directory: str) -> str:
    """Give the text of a question on the files of a data set."""
    return QUERIES[query].format(**{table: f"'{directory}/{table}/*.parquet'" for table in TABLES})
