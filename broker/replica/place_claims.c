#include "broker/replica/place_claims.h"

#include "common/check.h"
#include "common/mem.h"

#include <string.h>
#include <uthash.h>
#include <utlist.h>

/* A path that somebody holds: the first claim is the holder, the others wait. */
struct place {
    struct place_claim *claims;
    char *path;
    UT_hash_handle hh;
};

struct place_claims {
    struct loop *home;
    struct place *places;
};

struct place_claims *place_claims_new(struct loop *home)
{
    struct place_claims *claims = MEM_NEW(struct place_claims);
    claims->home = home;
    return claims;
}

void place_claims_free(struct place_claims *claims)
{
    CHECK(claims == NULL || claims->places == NULL);
    mem_free(claims);
}

static void place_claim_granted(struct loop_task *task)
{
    struct place_claim *claim = CONTAINER_OF(task, struct place_claim, task);
    claim->granted(claim);
}

static void place_claim_grant(struct place_claim *claim)
{
    claim->task.run = place_claim_granted;
    loop_post(claim->loop, &claim->task);
}

static void place_claim_on_home(struct loop_task *task)
{
    struct place_claim *claim = CONTAINER_OF(task, struct place_claim, task);
    struct place_claims *claims = claim->claims;
    struct place *place = NULL;
    HASH_FIND_STR(claims->places, claim->path, place);
    if (place == NULL) {
        place = MEM_NEW(struct place);
        place->path = mem_strdup(claim->path);
        HASH_ADD_KEYPTR(hh, claims->places, place->path, strlen(place->path), place);
    }
    claim->place = place;
    LL_APPEND(place->claims, claim);
    if (place->claims == claim) {
        place_claim_grant(claim);
    }
}

static void place_claim_released(struct loop_task *task)
{
    struct place_claim *claim = CONTAINER_OF(task, struct place_claim, task);
    mem_free(claim->path);
    claim->path = NULL;
    claim->released(claim);
}

static void place_claim_given(struct loop_task *task)
{
    struct place_claim *claim = CONTAINER_OF(task, struct place_claim, task);
    struct place_claims *claims = claim->claims;
    struct place *place = claim->place;
    CHECK(place->claims == claim);
    LL_DELETE(place->claims, claim);
    if (place->claims != NULL) {
        place_claim_grant(place->claims);
    } else {
        HASH_DEL(claims->places, place);
        mem_free(place->path);
        mem_free(place);
    }
    claim->task.run = place_claim_released;
    loop_post(claim->loop, &claim->task);
}

void place_claim_take(struct place_claims *claims, struct place_claim *claim, struct loop *loop, const char *path,
                      void (*granted)(struct place_claim *claim))
{
    *claim = (struct place_claim){.claims = claims, .loop = loop, .path = mem_strdup(path), .granted = granted};
    claim->task.run = place_claim_on_home;
    loop_post(claims->home, &claim->task);
}

void place_claim_give(struct place_claim *claim, void (*released)(struct place_claim *claim))
{
    claim->released = released;
    claim->task.run = place_claim_given;
    loop_post(claim->claims->home, &claim->task);
}
