-- Chance: a number below 2^64 that follows from the seed, what it is for, and a number.
CREATE MACRO chance(what, number) AS md5_number_lower('$seed:' || what || ':' || number);

-- What shuffles records that nobody put in order.
CREATE MACRO noise(object, key) AS
    (md5_number_lower('$seed:' || object || ':' || key) & 4294967295)::UINTEGER;

-- Any one of a list; NULL of an empty one.
CREATE MACRO any_of(list, number) AS list[1 + (number % greatest(len(list), 1)::UBIGINT)::BIGINT];

-- Where the part `ends` of `parts` of a sum ends, before each part gets its cent: parts are uneven,
-- and none is less than nothing.
CREATE MACRO cut(cents, ends, parts, number) AS CASE
    WHEN ends = 0 THEN 0
    WHEN ends = parts THEN cents - parts
    ELSE ((cents - parts) * (1000 * ends + (number % 900)::BIGINT - 450)) // (1000 * parts)
END;

-- A row is an entry, keys in the order in which they were made.
CREATE TABLE scratch.entry (
    key BIGINT, first_line BIGINT, debits INTEGER, credits INTEGER, cents BIGINT,
    entity BIGINT, pattern INTEGER, day DATE, period BIGINT, location BIGINT, party BIGINT,
    base_currency VARCHAR, txn_currency VARCHAR, rate DECIMAL(18, 6),
    made TIMESTAMP, changed TIMESTAMP, user_key BIGINT
);
CREATE TABLE scratch.line (
    key BIGINT, entry BIGINT, line_number INTEGER, txn_type VARCHAR,
    txn_amount DECIMAL(18, 2), base_amount DECIMAL(18, 2), account BIGINT, department BIGINT
);
