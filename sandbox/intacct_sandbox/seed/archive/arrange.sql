-- A row is a journal entry, under the names that its fields have in Intacct.
CREATE TABLE archive."general-ledger/journal-entry by time" AS
SELECT
    entry.key AS "key",
    entity AS "entity.key",
    changed AS "audit.modifiedDateTime",
    made AS "audit.createdDateTime",
    user_key AS "audit.createdByUser.key",
    user_key AS "audit.modifiedByUser.key",
    journal AS "glJournal.key",
    day AS "postingDate",
    what || strftime(day, ' %d %b') AS "description",
    symbol || '-' || entry.key AS "referenceNumber",
    entry.key AS "txnNumber",
    entity AS "baseLocation.key",
    noise('general-ledger/journal-entry', entry.key) AS noise
FROM scratch.entry
JOIN patterns USING (pattern)
ORDER BY "audit.modifiedDateTime", "key";

CREATE TABLE archive."general-ledger/journal-entry by entity" AS
FROM archive."general-ledger/journal-entry by time"
ORDER BY "entity.key", "audit.modifiedDateTime", "key";

-- A row is a journal entry line.
CREATE TABLE archive."general-ledger/journal-entry-line by time" AS
SELECT
    line.key AS "key",
    entity AS "entity.key",
    changed AS "audit.modifiedDateTime",
    made AS "audit.createdDateTime",
    user_key AS "audit.createdByUser.key",
    user_key AS "audit.modifiedByUser.key",
    entry AS "journalEntry.key",
    line_number AS "lineNumber",
    txn_type AS "txnType",
    txn_amount AS "txnAmount",
    base_amount AS "baseAmount",
    day AS "entryDate",
    what AS "description",
    account AS "glAccount.key",
    period AS "accountingPeriod.key",
    base_currency AS "currency.baseCurrency",
    txn_currency AS "currency.txnCurrency",
    rate AS "currency.exchangeRate",
    day AS "currency.exchangeRateDate",
    location AS "dimensions.location.key",
    department AS "dimensions.department.key",
    CASE WHEN patterns.party = 'customer' THEN entry.party END AS "dimensions.customer.key",
    CASE WHEN patterns.party = 'vendor' THEN entry.party END AS "dimensions.vendor.key",
    noise('general-ledger/journal-entry-line', line.key) AS noise
FROM scratch.line
JOIN scratch.entry ON entry.key = line.entry
JOIN patterns USING (pattern)
ORDER BY "audit.modifiedDateTime", "key";

CREATE TABLE archive."general-ledger/journal-entry-line by entity" AS
FROM archive."general-ledger/journal-entry-line by time"
ORDER BY "entity.key", "audit.modifiedDateTime", "key";
