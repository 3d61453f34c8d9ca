#include "broker/api/handlers.h"

#include "broker/api/dispatch.h"

static const struct dispatch_table table = {
    .handlers =
        {
            [API_KEY_API_VERSIONS] = handle_api_versions,
        },
};

const struct dispatch_table *handlers_table(void)
{
    return &table;
}
