-- Dedupe marks that several sidecars share: a row a key, and one for each content
-- of a key with more than 4. Made by the first of
-- them, if its user may; else by you, with this file.
CREATE TABLE IF NOT EXISTS remora_dedupe (
	hash     bytea    PRIMARY KEY, -- of scope and key, and of the content where the row is one's, 16 bytes
	held     smallint NOT NULL,    -- 1 while a delivery holds the key
	claim    bigint   NOT NULL,    -- names the call that began last
	token    bigint   NOT NULL,    -- of that call: fences those before it
	ends     bigint   NOT NULL,    -- when the lease ends, ms since 1970 of the server's clock
	attempts integer  NOT NULL,    -- how often that content was begun
	effect   bytea    NOT NULL,    -- its fingerprint, 16 bytes
	done     bytea    NOT NULL,    -- fingerprints that were handled, latest last, 4 at most
	expires  bigint   NOT NULL     -- when the row may be deleted, as ends
);
CREATE INDEX IF NOT EXISTS remora_dedupe_expires ON remora_dedupe (expires);
