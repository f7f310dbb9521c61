"""Bad command lines, and tables that a user may well have."""

from __future__ import annotations

from dataclasses import dataclass

GOOD = "a,kind,loss\n1,u,0.5\n2,v,0.7\n3,u,0.2\n4,v,0.9\n"


@dataclass(frozen=True)
class Line:
    """A command line that ends with status 2 and one line on stderr."""

    name: str
    arguments: str
    """Separated by blanks; `TABLE` is the file, `OUT` a place to write to."""

    expected: str
    got: str
    do: str
    table: str | bytes = GOOD

    def __str__(self) -> str:
        return self.name


LINES = [
    Line("no command", "", "expected a command", "none", "--help"),
    Line("unknown command", "cmp TABLE", "COMMAND: invalid choice", "'cmp'", "compare"),
    Line("unknown option", "compare TABLE --foo", "unrecognized", "--foo", "--help"),
    Line("no table", "compare", "required", "TABLE", "--help"),
    Line("a missing table", "compare no.csv", "no.csv: expected", "No such", "path"),
    Line("an empty table", "compare TABLE", "a header line", "0 lines", "check", ""),
    Line("a header", "compare TABLE", "a header line", "1 lines", "check", "a,b\n"),
    Line("one row", "compare TABLE", "expected", ".", ";", "a,b\n1,2\n"),
    Line("two rows", "fit TABLE", "least 3 rows", "2", "add", "a,loss\n1,2\n2,4\n"),
    Line("a long line", "fit TABLE", "line 2: expected 2", "3", "quote",
    "a,b\n1,2,3\n"),
    Line(
        "decimal commas between commas",
        *("search TABLE", "line 2: expected 2", "4", "point", "a,b\n1,5,2,5\n"),
    ),
    Line(
        "decimal commas between semicolons",
        *("compare TABLE --target loss --choices none", "a number", "'2,5'", "point"),
        "a;loss\n1,5;2,5\n2,5;3,5\n3,5;4,1\n",
    ),
    Line(
        "a second header row of types",
        *("compare TABLE --target loss --choices none", "row 0: expected", "'float'"),
        *("second header", "a,loss\nfloat,float\n1,2\n2,3\n3,4\n"),
    ),
    Line("UTF-16", "fit TABLE", "UTF-8", "can't decode", "save", GOOD.encode("utf-16")),
    Line("binary", "fit TABLE", "UTF-8", "can't decode", "save", bytes(range(256))),
    Line("unknown target", "fit TABLE --target los", "target", "'los'", "'loss'"),
    Line("the target is text", "fit TABLE --target kind", "a number", "'u'", "write"),
    Line("unknown choice", "fit TABLE --choices kin", "choices", "'kin'", "'kind'"),
    Line("unknown scalar", "fit TABLE --log-scalars b", "log_scalars", "'b'", "Known"),
    Line("unknown ignored", "fit TABLE --ignore b", "ignore", "'b'", "Known"),
    Line("unknown label", "fit TABLE --label b", "--label", "'b'", "known"),
    Line("unknown groups", "fit TABLE --groups b", "--groups", "'b'", "known"),
    Line("a target that is a choice", "fit TABLE --target loss --choices loss,kind",
         "one role", "target and in choices", "once"),
    Line("everything ignored", "fit TABLE --target loss --ignore a,kind",
         "to predict from", "none", "name what to ignore"),
    Line("log of a negative number", "fit TABLE --target loss --log-scalars a",
         "positive number", "-1", ";", GOOD.replace("1,u", "-1,u")),
    Line("infinite input", "fit TABLE --target loss", "finite", "inf", ";",
         GOOD.replace("1,u", "1e999,u")),
    Line("constant target", "fit TABLE --target loss --ignore none", "varies",
    "one value",
         "choose", "a,loss\n1,2\n2,2\n3,2\n"),
    Line("sizes as text", "compare TABLE --sizes a", "whole numbers", "'a'", "--help"),
    Line("a size too large", "compare TABLE --sizes 50 --out OUT", "sizes: expected",
         "50", ";"),
    Line("a size of zero", "compare TABLE --sizes 0 --out OUT", "sizes: expected", "0",
         ";"),
    Line("no replicates", "compare TABLE --sizes 3 --replicates 0 --out OUT",
         "replicates: expected", "0", ";"),
    Line("a negative seed", "compare TABLE --seed -1 --out OUT --sizes 3",
         "seed: expected", "-1", ";"),
    Line("a seed as text", "compare TABLE --seed a", "--seed: invalid int", "'a'",
         "--help"),
    Line("unknown fit", "compare TABLE --fit wram", "--fit: invalid choice", "'wram'",
         "warm"),
    Line("unknown criteria", "compare TABLE --criteria x", "expected some of", "'x'",
         "--help"),
    Line("a negative budget", "compare TABLE --budget -1 --out OUT",
         "--budget: expected", "-1", ";"),
    Line("a budget of NaN", "compare TABLE --budget nan --out OUT",
    "--budget: expected",
         "nan", ";"),
    Line("a negative budget of a search", "search TABLE --budget -1 --out OUT",
         "seconds: expected", "-1", ";"),
    Line("no candidates", "search TABLE --candidates 0 --out OUT",
         "candidates: expected", "0", ";"),
    Line("unknown executor", "search TABLE --executor moon --out OUT", "--executor",
         "'moon'", ";"),
    Line("unknown model", "fit TABLE --model x", "--model: invalid choice", "'x'",
         "loose priors"),
    Line("out is a folder", "fit TABLE --out .", "--out: expected a file", "folder",
    ";"),
    Line("out is a file", "compare TABLE --out TABLE --sizes 3",
    "folder: expected a fol",
         "file", ";"),
    Line("out is a file of a search", "search TABLE --out TABLE",
    "folder: expected a fo",
         "file", ";"),
    Line("out in a file", "fit TABLE --out TABLE/model.html", "--out: expected",
         "where a file is a folder", "another place"),
]  # fmt: skip
