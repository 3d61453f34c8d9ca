/* The allow-all authoriser: no principal can be proved yet, so every one may do everything, as in Kafka without an authorizer. */
#include "broker/api/authorise.h"

#include "broker/api/request.h"
#include "common/check.h"

bool authorise(const struct request *request, enum authorise_operation operation, enum authorise_resource resource,
               struct span name)
{
    CHECK(request->context.principal != NULL && !span_is_null(name));
    (void)operation;
    (void)resource;
    return true;
}

bool authorise_cluster(const struct request *request, enum authorise_operation operation)
{
    return authorise(request, operation, AUTHORISE_CLUSTER, span_text(AUTHORISE_CLUSTER_NAME));
}
