-- Everything in one call, planned once per connection. A seat whose hold has run
-- out counts as free at once: status is implicit, and no sweeper is needed.

-- hold gives all seats to a hold, or none. It looks before it writes, so that
-- whoever loses anyway locks and writes nothing. The update locks in the order of
-- seats, since the index is read in order, so that two calls cannot wait for each
-- other. Who finds some seats taken that were free a moment ago ends with an error,
-- which gives back the others.
CREATE FUNCTION hold(e int, wanted int[], h bigint, ttl interval) RETURNS boolean
LANGUAGE plpgsql AS $$
DECLARE
    n int;
BEGIN
    SELECT count(*) INTO n FROM seats
     WHERE event = e AND seat = ANY (wanted) AND (status = 0 OR status = 1 AND expires <= now());
    IF n < cardinality(wanted) THEN
        RETURN false;
    END IF;
    UPDATE seats SET status = 1, hold = h, expires = clock_timestamp() + ttl
     WHERE event = e AND seat = ANY (wanted) AND (status = 0 OR status = 1 AND expires <= now());
    GET DIAGNOSTICS n = ROW_COUNT;
    IF n < cardinality(wanted) THEN
        RAISE 'taken' USING ERRCODE = 'US001';
    END IF;
    RETURN true;
END $$;

-- hold_batch decides many holds of an event in one transaction: one round trip and
-- one sync of the log for all of them. wanted has the seats of all, sizes says how
-- many each wants. It locks what anybody can still get, in order, and then decides
-- one after the other.
CREATE FUNCTION hold_batch(e int, wanted int[], sizes int[], h bigint[], ttl interval) RETURNS boolean[]
LANGUAGE plpgsql AS $$
DECLARE
    granted boolean[] := array_fill(false, ARRAY[cardinality(h)]);
    free int[];
    mine int[];
    seats_won int[] := '{}';
    holds_won bigint[] := '{}';
    at int := 1;
BEGIN
    SELECT array_agg(seat) INTO free FROM seats
     WHERE event = e AND seat = ANY (wanted) AND (status = 0 OR status = 1 AND expires <= now());
    IF free IS NULL THEN
        RETURN granted;
    END IF;
    SELECT array_agg(seat) INTO free FROM (
        SELECT seat FROM seats
         WHERE event = e AND seat = ANY (free) AND (status = 0 OR status = 1 AND expires <= now())
         ORDER BY seat FOR NO KEY UPDATE) locked;
    FOR i IN 1 .. cardinality(h) LOOP
        mine := wanted[at : at + sizes[i] - 1];
        at := at + sizes[i];
        IF mine <@ free AND NOT mine && seats_won THEN
            granted[i] := true;
            seats_won := seats_won || mine;
            holds_won := holds_won || array_fill(h[i], ARRAY[sizes[i]]);
        END IF;
    END LOOP;
    UPDATE seats SET status = 1, hold = won.hold, expires = clock_timestamp() + ttl
      FROM unnest(seats_won, holds_won) AS won (seat, hold)
     WHERE event = e AND seats.seat = won.seat;
    RETURN granted;
END $$;

-- confirm_batch books the seats of many holds of an event and gives the holds
-- whose seats they are: a hold's seats share its time, so it is all of them or
-- none.
CREATE FUNCTION confirm_batch(e int, mine int[], holds bigint[]) RETURNS SETOF bigint
LANGUAGE sql AS $$
    WITH locked AS MATERIALIZED (
        SELECT seats.seat FROM seats JOIN unnest(mine, holds) AS m (seat, hold) ON seats.seat = m.seat
         WHERE event = e AND seats.hold = m.hold AND status = 1 AND expires > now()
         ORDER BY seats.seat FOR NO KEY UPDATE OF seats)
    UPDATE seats SET status = 2, expires = 'infinity' FROM locked
     WHERE event = e AND seats.seat = locked.seat RETURNING hold;
$$;

-- best takes the first n neighbours in a row that it can lock without waiting,
-- so that buyers who all want the same seats do not queue for them. NULL: there
-- are none; an empty array: all that there are were locked by others, ask again.
CREATE FUNCTION best(e int, n int, h bigint, ttl interval) RETURNS int[]
LANGUAGE plpgsql AS $$
DECLARE
    candidate int;
    got int[];
BEGIN
    FOR candidate IN
        SELECT seat FROM (
            SELECT seat, lead(seat, n - 1) OVER (ORDER BY seat) AS last FROM seats
             WHERE event = e AND (status = 0 OR status = 1 AND expires <= now())) runs
         WHERE last = seat + n - 1 AND last / 50 = seat / 50
         ORDER BY seat
    LOOP
        SELECT array_agg(seat) INTO got FROM (
            SELECT seat FROM seats
             WHERE event = e AND seat BETWEEN candidate AND candidate + n - 1
               AND (status = 0 OR status = 1 AND expires <= now())
             ORDER BY seat FOR NO KEY UPDATE SKIP LOCKED) locked;
        IF cardinality(got) = n THEN
            UPDATE seats SET status = 1, hold = h, expires = clock_timestamp() + ttl
             WHERE event = e AND seat BETWEEN candidate AND candidate + n - 1;
            RETURN got;
        END IF;
    END LOOP;
    IF candidate IS NULL THEN
        RETURN NULL;
    END IF;
    RETURN '{}';
END $$;
