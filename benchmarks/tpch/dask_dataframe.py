"""The 22 TPC-H queries with dask.dataframe, in the style of pandas.

They are written as a user of dask.dataframe would: columns and simple filters are left to its optimizer, tables are joined from
the small ones up so that filters act early, aggregations come with `split_out=True` so that the optimizer may pick their
partitions, and what is a few rows is sorted at the end. Parameters and answers are those of `benchmarks.tpch.queries`.

A query takes `Tables` of dask.dataframe frames and gives a frame or a scalar of Dask, not computed.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from typing import Any

import dask.dataframe as dd

from benchmarks.tpch.queries import Tables

Frame = Any  # dask.dataframe is not typed


def read(path: str) -> Frame:
    """Scan the files of a table. Text and dates come as Arrow columns, numbers as those of NumPy."""
    return dd.read_parquet(path.removesuffix("/*.parquet"), filesystem="arrow")


def year(dates: Frame) -> Frame:
    """Give the years of a column of Arrow dates, which have no `.dt.year` in pandas."""
    return dates.astype("datetime64[s]").dt.year


def revenue(frame: Frame) -> Frame:
    """Give what is paid for each line."""
    return frame.l_extendedprice * (1 - frame.l_discount)


def q1(t: Tables) -> Frame:
    """Pricing summary report."""
    lines = t.lineitem[t.lineitem.l_shipdate <= date(1998, 9, 2)]
    lines = lines.assign(disc_price=revenue(lines))
    lines = lines.assign(charge=lines.disc_price * (1 + lines.l_tax))
    summary = lines.groupby(["l_returnflag", "l_linestatus"]).agg(
        sum_qty=("l_quantity", "sum"),
        sum_base_price=("l_extendedprice", "sum"),
        sum_disc_price=("disc_price", "sum"),
        sum_charge=("charge", "sum"),
        avg_qty=("l_quantity", "mean"),
        avg_price=("l_extendedprice", "mean"),
        avg_disc=("l_discount", "mean"),
        count_order=("l_quantity", "size"),
    )
    return summary.reset_index().sort_values(["l_returnflag", "l_linestatus"])


def q2(t: Tables) -> Frame:
    """Minimum cost supplier."""
    europe = t.region[t.region.r_name == "EUROPE"].merge(t.nation, left_on="r_regionkey", right_on="n_regionkey")
    suppliers = europe.merge(t.supplier, left_on="n_nationkey", right_on="s_nationkey")
    parts = t.part[(t.part.p_size == 15) & t.part.p_type.str.endswith("BRASS")]
    offers = parts.merge(t.partsupp, left_on="p_partkey", right_on="ps_partkey")
    offers = offers.merge(suppliers, left_on="ps_suppkey", right_on="s_suppkey")
    cheapest = offers.groupby("p_partkey").ps_supplycost.min(split_out=True).reset_index()
    columns = ["s_acctbal", "s_name", "n_name", "p_partkey", "p_mfgr", "s_address", "s_phone", "s_comment"]
    return (
        offers.merge(cheapest, on=["p_partkey", "ps_supplycost"])[columns]
        .sort_values(["s_acctbal", "n_name", "s_name", "p_partkey"], ascending=[False, True, True, True])
        .head(100, compute=False)
    )


def q3(t: Tables) -> Frame:
    """Shipping priority."""
    day = date(1995, 3, 15)
    customers = t.customer[t.customer.c_mktsegment == "BUILDING"]
    lines = t.lineitem[t.lineitem.l_shipdate > day]
    joined = customers.merge(t.orders[t.orders.o_orderdate < day], left_on="c_custkey", right_on="o_custkey")
    joined = joined.merge(lines, left_on="o_orderkey", right_on="l_orderkey")
    joined = joined.assign(revenue=revenue(joined))
    total = joined.groupby(["l_orderkey", "o_orderdate", "o_shippriority"]).revenue.sum(split_out=True).reset_index()
    return (
        total[["l_orderkey", "revenue", "o_orderdate", "o_shippriority"]]
        .sort_values(["revenue", "o_orderdate"], ascending=[False, True])
        .head(10, compute=False)
    )


def q4(t: Tables) -> Frame:
    """Order priority checking."""
    orders = t.orders[(t.orders.o_orderdate >= date(1993, 7, 1)) & (t.orders.o_orderdate < date(1993, 10, 1))]
    late = t.lineitem[t.lineitem.l_commitdate < t.lineitem.l_receiptdate]
    joined = orders.merge(late, left_on="o_orderkey", right_on="l_orderkey", how="leftsemi")
    return joined.groupby("o_orderpriority").size().to_frame("order_count").reset_index().sort_values("o_orderpriority")


def q5(t: Tables) -> Frame:
    """Local supplier volume."""
    orders = t.orders[(t.orders.o_orderdate >= date(1994, 1, 1)) & (t.orders.o_orderdate < date(1995, 1, 1))]
    asia = t.region[t.region.r_name == "ASIA"].merge(t.nation, left_on="r_regionkey", right_on="n_regionkey")
    joined = asia.merge(t.customer, left_on="n_nationkey", right_on="c_nationkey")
    joined = joined.merge(orders, left_on="c_custkey", right_on="o_custkey")
    joined = joined.merge(t.lineitem, left_on="o_orderkey", right_on="l_orderkey")
    joined = joined.merge(t.supplier, left_on=["l_suppkey", "n_nationkey"], right_on=["s_suppkey", "s_nationkey"])
    joined = joined.assign(revenue=revenue(joined))
    return joined.groupby("n_name").revenue.sum().reset_index().sort_values("revenue", ascending=False)


def q6(t: Tables) -> Frame:
    """Forecasting revenue change."""
    lines = t.lineitem[
        (t.lineitem.l_shipdate >= date(1994, 1, 1))
        & (t.lineitem.l_shipdate < date(1995, 1, 1))
        & (t.lineitem.l_discount >= 0.05)
        & (t.lineitem.l_discount <= 0.07)
        & (t.lineitem.l_quantity < 24)
    ]
    return (lines.l_extendedprice * lines.l_discount).sum()


def q7(t: Tables) -> Frame:
    """Volume shipping."""
    nations = t.nation[t.nation.n_name.isin(["FRANCE", "GERMANY"])][["n_nationkey", "n_name"]]
    lines = t.lineitem[(t.lineitem.l_shipdate >= date(1995, 1, 1)) & (t.lineitem.l_shipdate <= date(1996, 12, 31))]
    suppliers = nations.rename(columns={"n_name": "supp_nation"}).merge(
        t.supplier, left_on="n_nationkey", right_on="s_nationkey"
    )[["s_suppkey", "supp_nation"]]
    customers = nations.rename(columns={"n_name": "cust_nation"}).merge(
        t.customer, left_on="n_nationkey", right_on="c_nationkey"
    )[["c_custkey", "cust_nation"]]
    orders = customers.merge(t.orders, left_on="c_custkey", right_on="o_custkey")[["o_orderkey", "cust_nation"]]
    joined = suppliers.merge(lines, left_on="s_suppkey", right_on="l_suppkey")
    joined = joined.merge(orders, left_on="l_orderkey", right_on="o_orderkey")
    joined = joined[joined.supp_nation != joined.cust_nation]
    joined = joined.assign(l_year=year(joined.l_shipdate), revenue=revenue(joined))
    keys = ["supp_nation", "cust_nation", "l_year"]
    return joined.groupby(keys).revenue.sum().reset_index().sort_values(keys)


def q8(t: Tables) -> Frame:
    """National market share."""
    parts = t.part[t.part.p_type == "ECONOMY ANODIZED STEEL"][["p_partkey"]]
    orders = t.orders[(t.orders.o_orderdate >= date(1995, 1, 1)) & (t.orders.o_orderdate <= date(1996, 12, 31))]
    america = t.region[t.region.r_name == "AMERICA"].merge(
        t.nation[["n_nationkey", "n_regionkey"]], left_on="r_regionkey", right_on="n_regionkey"
    )
    customers = america.merge(t.customer, left_on="n_nationkey", right_on="c_nationkey")[["c_custkey"]]
    suppliers = t.nation[["n_nationkey", "n_name"]].merge(t.supplier, left_on="n_nationkey", right_on="s_nationkey")[
        ["s_suppkey", "n_name"]
    ]
    joined = parts.merge(t.lineitem, left_on="p_partkey", right_on="l_partkey")
    joined = joined.merge(orders, left_on="l_orderkey", right_on="o_orderkey")
    joined = joined.merge(customers, left_on="o_custkey", right_on="c_custkey")
    joined = joined.merge(suppliers, left_on="l_suppkey", right_on="s_suppkey")
    joined = joined.assign(o_year=year(joined.o_orderdate), volume=revenue(joined))
    joined = joined.assign(brazil=joined.volume.where(joined.n_name == "BRAZIL", 0.0))
    years = joined.groupby("o_year")[["brazil", "volume"]].sum().reset_index()
    return years.assign(mkt_share=years.brazil / years.volume)[["o_year", "mkt_share"]].sort_values("o_year")


def q9(t: Tables) -> Frame:
    """Product type profit measure."""
    parts = t.part[t.part.p_name.str.contains("green", regex=False)][["p_partkey"]]
    suppliers = t.nation.merge(t.supplier, left_on="n_nationkey", right_on="s_nationkey")[["s_suppkey", "n_name"]]
    joined = parts.merge(t.lineitem, left_on="p_partkey", right_on="l_partkey")
    joined = joined.merge(t.partsupp, left_on=["p_partkey", "l_suppkey"], right_on=["ps_partkey", "ps_suppkey"])
    joined = joined.merge(suppliers, left_on="l_suppkey", right_on="s_suppkey")
    joined = joined.merge(t.orders, left_on="l_orderkey", right_on="o_orderkey")
    joined = joined.assign(
        nation=joined.n_name,
        o_year=year(joined.o_orderdate),
        sum_profit=revenue(joined) - joined.ps_supplycost * joined.l_quantity,
    )
    return (
        joined.groupby(["nation", "o_year"])
        .sum_profit.sum()
        .reset_index()
        .sort_values(["nation", "o_year"], ascending=[True, False])
    )


def q10(t: Tables) -> Frame:
    """Returned item reporting."""
    orders = t.orders[(t.orders.o_orderdate >= date(1993, 10, 1)) & (t.orders.o_orderdate < date(1994, 1, 1))]
    returned = t.lineitem[t.lineitem.l_returnflag == "R"]
    lines = orders.merge(returned, left_on="o_orderkey", right_on="l_orderkey")
    customers = t.customer.merge(t.nation, left_on="c_nationkey", right_on="n_nationkey")
    joined = customers.merge(lines, left_on="c_custkey", right_on="o_custkey")
    joined = joined.assign(revenue=revenue(joined))
    keys = ["c_custkey", "c_name", "c_acctbal", "c_phone", "n_name", "c_address", "c_comment"]
    total = joined.groupby(keys).revenue.sum(split_out=True).reset_index()
    columns = ["c_custkey", "c_name", "revenue", "c_acctbal", "n_name", "c_address", "c_phone", "c_comment"]
    return total[columns].sort_values("revenue", ascending=False).head(20, compute=False)


def q11(t: Tables) -> Frame:
    """Important stock identification."""
    germany = t.nation[t.nation.n_name == "GERMANY"].merge(t.supplier, left_on="n_nationkey", right_on="s_nationkey")
    stock = germany.merge(t.partsupp, left_on="s_suppkey", right_on="ps_suppkey")
    stock = stock.assign(value=stock.ps_supplycost * stock.ps_availqty)
    total = stock.value.sum() * 0.0001
    value = stock.groupby("ps_partkey").value.sum(split_out=True).reset_index()
    return value[value.value > total].sort_values("value", ascending=False)


def q12(t: Tables) -> Frame:
    """Shipping modes and order priority."""
    lines = t.lineitem[
        t.lineitem.l_shipmode.isin(["MAIL", "SHIP"])
        & (t.lineitem.l_commitdate < t.lineitem.l_receiptdate)
        & (t.lineitem.l_shipdate < t.lineitem.l_commitdate)
        & (t.lineitem.l_receiptdate >= date(1994, 1, 1))
        & (t.lineitem.l_receiptdate < date(1995, 1, 1))
    ]
    joined = t.orders.merge(lines, left_on="o_orderkey", right_on="l_orderkey")
    urgent = joined.o_orderpriority.isin(["1-URGENT", "2-HIGH"])
    joined = joined.assign(high_line_count=urgent.astype("int64"), low_line_count=(~urgent).astype("int64"))
    counts = joined.groupby("l_shipmode")[["high_line_count", "low_line_count"]].sum()
    return counts.reset_index().sort_values("l_shipmode")


def q13(t: Tables) -> Frame:
    """Customer distribution."""
    orders = t.orders[~t.orders.o_comment.str.contains("special.*requests", regex=True)]
    joined = t.customer.merge(orders, left_on="c_custkey", right_on="o_custkey", how="left")
    counts = joined.groupby("c_custkey").o_orderkey.count(split_out=True).to_frame("c_count")
    spread = counts.groupby("c_count").size().to_frame("custdist").reset_index()
    return spread.sort_values(["custdist", "c_count"], ascending=False)


def q14(t: Tables) -> Frame:
    """Promotion effect."""
    lines = t.lineitem[(t.lineitem.l_shipdate >= date(1995, 9, 1)) & (t.lineitem.l_shipdate < date(1995, 10, 1))]
    joined = lines.merge(t.part, left_on="l_partkey", right_on="p_partkey")
    paid = revenue(joined)
    return 100 * paid.where(joined.p_type.str.startswith("PROMO"), 0.0).sum() / paid.sum()


def q15(t: Tables) -> Frame:
    """Top supplier."""
    lines = t.lineitem[(t.lineitem.l_shipdate >= date(1996, 1, 1)) & (t.lineitem.l_shipdate < date(1996, 4, 1))]
    lines = lines.assign(total_revenue=revenue(lines))
    totals = lines.groupby("l_suppkey").total_revenue.sum(split_out=True).reset_index()
    best = totals[totals.total_revenue == totals.total_revenue.max()]
    joined = t.supplier.merge(best, left_on="s_suppkey", right_on="l_suppkey")
    return joined[["s_suppkey", "s_name", "s_address", "s_phone", "total_revenue"]].sort_values("s_suppkey")


def q16(t: Tables) -> Frame:
    """Parts/supplier relationship."""
    complaints = t.supplier[t.supplier.s_comment.str.contains("Customer.*Complaints", regex=True)]
    parts = t.part[
        (t.part.p_brand != "Brand#45")
        & ~t.part.p_type.str.startswith("MEDIUM POLISHED")
        & t.part.p_size.isin([49, 14, 23, 45, 19, 3, 36, 9])
    ]
    joined = parts.merge(t.partsupp, left_on="p_partkey", right_on="ps_partkey")
    joined = joined.merge(complaints[["s_suppkey"]], left_on="ps_suppkey", right_on="s_suppkey", how="left")
    joined = joined[joined.s_suppkey.isna()]
    keys = ["p_brand", "p_type", "p_size"]
    counts = joined.groupby(keys).ps_suppkey.nunique(split_out=True).to_frame("supplier_cnt").reset_index()
    return counts.sort_values(["supplier_cnt", *keys], ascending=[False, True, True, True])


def q17(t: Tables) -> Frame:
    """Small-quantity-order revenue."""
    parts = t.part[(t.part.p_brand == "Brand#23") & (t.part.p_container == "MED BOX")][["p_partkey"]]
    lines = parts.merge(t.lineitem, left_on="p_partkey", right_on="l_partkey")
    usual = lines.groupby("p_partkey").l_quantity.mean(split_out=True).to_frame("usual").reset_index()
    joined = lines.merge(usual, on="p_partkey")
    return joined[joined.l_quantity < 0.2 * joined.usual].l_extendedprice.sum() / 7.0


def q18(t: Tables) -> Frame:
    """Large volume customer."""
    quantity = t.lineitem.groupby("l_orderkey").l_quantity.sum(split_out=True).to_frame("sum_qty").reset_index()
    large = quantity[quantity.sum_qty > 300]
    joined = t.orders.merge(large, left_on="o_orderkey", right_on="l_orderkey")
    joined = joined.merge(t.customer, left_on="o_custkey", right_on="c_custkey")
    columns = ["c_name", "c_custkey", "o_orderkey", "o_orderdate", "o_totalprice", "sum_qty"]
    return (
        joined[columns].sort_values(["o_totalprice", "o_orderdate"], ascending=[False, True]).head(100, compute=False)
    )


def q19(t: Tables) -> Frame:
    """Discounted revenue."""

    def wanted(frame: Frame, brand: str, size: str, packages: list[str], quantity: int, largest: int) -> Frame:
        return (
            (frame.p_brand == brand)
            & frame.p_container.isin([f"{size} {package}" for package in packages])
            & frame.l_quantity.between(quantity, quantity + 10)
            & frame.p_size.between(1, largest)
        )

    by_air = t.lineitem[
        t.lineitem.l_shipmode.isin(["AIR", "AIR REG"]) & (t.lineitem.l_shipinstruct == "DELIVER IN PERSON")
    ]
    parts = t.part[t.part.p_brand.isin(["Brand#12", "Brand#23", "Brand#34"])]
    joined = parts.merge(by_air, left_on="p_partkey", right_on="l_partkey")
    joined = joined[
        wanted(joined, "Brand#12", "SM", ["CASE", "BOX", "PACK", "PKG"], 1, 5)
        | wanted(joined, "Brand#23", "MED", ["BAG", "BOX", "PKG", "PACK"], 10, 10)
        | wanted(joined, "Brand#34", "LG", ["CASE", "BOX", "PACK", "PKG"], 20, 15)
    ]
    return revenue(joined).sum()


def q20(t: Tables) -> Frame:
    """Potential part promotion."""
    lines = t.lineitem[(t.lineitem.l_shipdate >= date(1994, 1, 1)) & (t.lineitem.l_shipdate < date(1995, 1, 1))]
    shipped = lines.groupby(["l_partkey", "l_suppkey"]).l_quantity.sum(split_out=True).to_frame("shipped").reset_index()
    forest = t.part[t.part.p_name.str.startswith("forest")][["p_partkey"]]
    stock = t.partsupp.merge(forest, left_on="ps_partkey", right_on="p_partkey", how="leftsemi")
    surplus = stock.merge(shipped, left_on=["ps_partkey", "ps_suppkey"], right_on=["l_partkey", "l_suppkey"])
    surplus = surplus[surplus.ps_availqty > 0.5 * surplus.shipped]
    canada = t.nation[t.nation.n_name == "CANADA"]
    suppliers = t.supplier.merge(canada, left_on="s_nationkey", right_on="n_nationkey", how="leftsemi")
    # A row is given by each partition of the other side that has its key: each key may only be in one of them.
    with_surplus = surplus.groupby("ps_suppkey").size(split_out=True).to_frame("parts").reset_index()
    suppliers = suppliers.merge(with_surplus, left_on="s_suppkey", right_on="ps_suppkey", how="leftsemi")
    return suppliers[["s_name", "s_address"]].sort_values("s_name")


def q21(t: Tables) -> Frame:
    """Suppliers who kept orders waiting."""
    late = t.lineitem[t.lineitem.l_receiptdate > t.lineitem.l_commitdate]
    shared = t.lineitem.groupby("l_orderkey").l_suppkey.nunique(split_out=True).to_frame("suppliers").reset_index()
    one_late = late.groupby("l_orderkey").l_suppkey.nunique(split_out=True).to_frame("suppliers").reset_index()
    joined = late.merge(t.orders[t.orders.o_orderstatus == "F"], left_on="l_orderkey", right_on="o_orderkey")
    joined = joined.merge(shared[shared.suppliers > 1][["l_orderkey"]], on="l_orderkey", how="leftsemi")
    joined = joined.merge(one_late[one_late.suppliers == 1][["l_orderkey"]], on="l_orderkey", how="leftsemi")
    arabia = t.nation[t.nation.n_name == "SAUDI ARABIA"].merge(
        t.supplier, left_on="n_nationkey", right_on="s_nationkey"
    )
    joined = joined.merge(arabia, left_on="l_suppkey", right_on="s_suppkey")
    waits = joined.groupby("s_name").size(split_out=True).to_frame("numwait").reset_index()
    return waits.sort_values(["numwait", "s_name"], ascending=[False, True]).head(100, compute=False)


def q22(t: Tables) -> Frame:
    """Global sales opportunity."""
    customers = t.customer.assign(cntrycode=t.customer.c_phone.str.slice(0, 2))
    customers = customers[customers.cntrycode.isin(["13", "31", "23", "29", "30", "18", "17"])]
    customers = customers[customers.c_acctbal > customers[customers.c_acctbal > 0].c_acctbal.mean()]
    joined = customers.merge(t.orders[["o_custkey"]], left_on="c_custkey", right_on="o_custkey", how="left")
    joined = joined[joined.o_custkey.isna()]
    totals = joined.groupby("cntrycode").agg(numcust=("c_acctbal", "size"), totacctbal=("c_acctbal", "sum"))
    return totals.reset_index().sort_values("cntrycode")


QUERIES: dict[int, Callable[[Tables], Frame]] = {
    1: q1,
    2: q2,
    3: q3,
    4: q4,
    5: q5,
    6: q6,
    7: q7,
    8: q8,
    9: q9,
    10: q10,
    11: q11,
    12: q12,
    13: q13,
    14: q14,
    15: q15,
    16: q16,
    17: q17,
    18: q18,
    19: q19,
    20: q20,
    21: q21,
    22: q22,
}
"""The queries by number."""
