-- Events with the code of one more context field.
-- in:  told_events: told, a list with the value of each field; codes of the fields before :field
--      value_codes: value, code
-- out: the rows of told_events, codes with one more entry: 0 where the value is unknown
SELECT
    told_events.* EXCEPT (codes),
    ARRAY_APPEND(told_events.codes, COALESCE(value_codes.code, 0)) AS codes
FROM told_events
LEFT JOIN value_codes ON TRY_ELEMENT_AT(told_events.told, :field + 1) = value_codes.value
