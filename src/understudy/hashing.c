/* The n-grams of texts: hashing.py says what they are and does the same with NumPy; this is the fast way.

   Built where a C compiler is (hatch_build.py), called through ctypes; no Python headers. */

#include <stdint.h>
#include <string.h>

enum { WORD = 1, MARK = 2, APOSTROPHE = 3 };

static const uint64_t BYTES = 0x9ddfea08eb382d69u, WORDS = 0xc2b2ae3d27d4eb4fu, INSIDE = 0x165667b19e3779f9u;

static int64_t mixed(uint64_t hash) {
    hash = (hash ^ (hash >> 30)) * 0xbf58476d1ce4e5b9u;
    hash = (hash ^ (hash >> 27)) * 0x94d049bb133111ebu;
    return (int64_t)((hash ^ (hash >> 31)) >> 32);
}

/* Replaces the hashes from `first` to `end` by the ids of the known ones, each once, and returns the new end. `known` is
   sorted; those whose first bits are b lie from starts[b] to starts[b + 1]. `seen` has room for four times as many. */
static int64_t *look_up(int64_t *first, int64_t *end, const uint32_t *known, const int32_t *starts, int64_t coarse,
                        int64_t fine, int32_t *seen) {
    int64_t *out = first;
    uint32_t places = 4;
    while ((int64_t)places < 2 * (end - first)) places *= 2;
    memset(seen, 0, places * sizeof *seen);
    for (; first < end; first++) {
        uint32_t hash = (uint32_t)*first >> coarse, bucket = hash >> fine;
        for (int32_t at = starts[bucket]; at < starts[bucket + 1]; at++) {
            if (known[at] != hash) continue;
            uint32_t place = ((uint32_t)at * 0x9e3779b1u >> 7) & (places - 1);
            while (seen[place] && seen[place] != at + 1) place = (place + 1) & (places - 1);
            if (!seen[place]) *out++ = seen[place] = at + 1;
        }
    }
    return out;
}

static int inside(const uint8_t *kinds, const uint8_t *at) {
    uint8_t kind = kinds[*at];
    return kind == WORD || (kind == APOSTROPHE && kinds[at[-1]] == WORD && kinds[at[1]] == WORD);
}

/* The next word from `at` on: its first byte, and in `end` the byte behind it; 0 where the text ends. */
static const uint8_t *next(const uint8_t *kinds, const uint8_t *at, const uint8_t **end) {
    while (*at && !kinds[*at]) at++;
    if (!*at) return 0;
    const uint8_t *start = at;
    while (inside(kinds, at)) at++;
    *end = at > start ? at : at + 1;
    return start;
}

/* `bytes`: a NUL before each text and one behind the last; `counts`: how many numbers each of the `texts` got in `out`,
   ids, each once, or where nothing is `known` all hashes. Returns how many there are in all. */
int64_t understudy_ngrams(const uint8_t *kinds, const uint8_t *bytes, int64_t texts, int64_t max_words, int64_t ngrams,
                          const int64_t *sizes, int64_t many_sizes, const uint32_t *known, const int32_t *starts,
                          int64_t coarse, int64_t fine, int32_t *seen, int64_t *out, int64_t *counts) {
    int64_t *first = out, *begun = out;
    const uint8_t *text = bytes + 1;
    for (int64_t number = 0; number < texts; number++) {
        const uint8_t *at = text, *end = text, *start;
        uint64_t before[2] = {0, 0};
        int64_t words = 0;
        for (; words < max_words && (start = next(kinds, at, &end)); words++) {
            uint64_t hash = 0;
            for (at = start; at < end; at++) hash = hash * BYTES + *at;
            *out++ = mixed(hash);
            if (ngrams > 1 && words > 0) *out++ = mixed(before[0] * WORDS + hash);
            if (ngrams > 2 && words > 1) *out++ = mixed((before[1] * WORDS + before[0]) * WORDS + hash);
            before[1] = before[0];
            before[0] = hash;
        }
        for (int64_t which = 0; which < many_sizes; which++) {
            int64_t size = sizes[which], left = words;
            for (at = text; left && (start = next(kinds, at, &end)); left--, at = end) {
                if (!inside(kinds, start)) continue;
                for (const uint8_t *from = start - 1; from + size <= end + 1; from++) {
                    if (from < start && from + size > end) break; /* the whole word, which is an n-gram already */
                    uint64_t hash = 0;
                    for (const uint8_t *byte = from; byte < from + size; byte++)
                        hash = hash * BYTES + (byte >= start && byte < end ? *byte : ' ');
                    *out++ = mixed(hash ^ INSIDE);
                }
            }
        }
        if (known) out = look_up(begun, out, known, starts, coarse, fine, seen);
        counts[number] = out - begun;
        begun = out;
        while (*text) text++;
        text++;
    }
    return out - first;
}
