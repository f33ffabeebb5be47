-- Dedupe marks that several sidecars share: a row a key, and one for each content
-- of a key with more than 4. Made by the first of
-- them, if its user may; else by you, with this file.
CREATE TABLE IF NOT EXISTS remora_dedupe (
	hash     BINARY(16)    NOT NULL PRIMARY KEY, -- of scope and key, and of the content where the row is one's
	held     SMALLINT      NOT NULL, -- 1 while a delivery holds the key
	claim    BIGINT        NOT NULL, -- names the call that began last
	token    BIGINT        NOT NULL, -- of that call: fences those before it
	ends     BIGINT        NOT NULL, -- when the lease ends, ms since 1970 of the server's clock
	attempts INT           NOT NULL, -- how often that content was begun
	effect   BINARY(16)    NOT NULL, -- its fingerprint
	done     VARBINARY(64) NOT NULL, -- fingerprints that were handled, latest last, 4 at most
	expires  BIGINT        NOT NULL, -- when the row may be deleted, as ends
	KEY remora_dedupe_expires (expires)
) ENGINE = InnoDB;
