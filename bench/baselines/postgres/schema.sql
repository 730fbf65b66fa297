-- A seat is a row. Nothing that changes is indexed, and pages have room for new
-- versions, so most updates are HOT: the new version stays on the page and no index
-- is touched. More room than a fifth is slower: whoever reads a page that is fuller
-- than this prunes it. seat counts from 0 in rows of 50.
CREATE TABLE seats (
    event   int         NOT NULL,
    seat    int         NOT NULL,
    status  smallint    NOT NULL DEFAULT 0, -- 0 free, 1 held, 2 booked
    hold    bigint      NOT NULL DEFAULT 0, -- who holds or has booked it
    expires timestamptz NOT NULL DEFAULT 'infinity',
    PRIMARY KEY (event, seat)
) WITH (fillfactor = 80);
