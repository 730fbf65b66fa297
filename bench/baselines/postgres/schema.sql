-- A seat is a row. Nothing that changes is indexed, and pages are filled to half,
-- so updates are HOT: the new version stays on the page, no index is touched, and
-- readers prune the old ones. seat counts from 0 in rows of 50.
CREATE TABLE seats (
    event   int         NOT NULL,
    seat    int         NOT NULL,
    status  smallint    NOT NULL DEFAULT 0, -- 0 free, 1 held, 2 booked
    hold    bigint      NOT NULL DEFAULT 0, -- who holds or has booked it
    expires timestamptz NOT NULL DEFAULT 'infinity',
    PRIMARY KEY (event, seat)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.1);
