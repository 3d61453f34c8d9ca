/* UnregisterBroker (64). */
#include "controller/broker_control.h"
#include "controller/controller_api.h"
#include "proto/kmsg/unregister_broker.h"

enum err admin_unregister_broker(struct api_call *call)
{
    struct unregister_broker_request request;
    struct unregister_broker_response response;
    struct decision_result outcome = {0};
    enum err err = api_call_decode(call, &unregister_broker_request_codec, &request);
    if (err != ERR_OK) {
        return err;
    }
    (void)broker_control_unregister(&call->decision, request.broker_id, &outcome);
    codec_set_defaults(&unregister_broker_response_codec, &response);
    response.error_code = outcome.code;
    response.error_message = outcome.message;
    return api_call_encode(call, &unregister_broker_response_codec, &response);
}
