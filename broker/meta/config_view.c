#include "broker/meta/config_view.h"

#include "broker/broker_options.h"
#include "controller/topic_config.h"

#include <stdio.h>

#define CONFIG_TEXT_BYTES_MAX 4096

static void config_chain_add(struct config_chain *chain, const char *name, struct span value, enum config_source source)
{
    CHECK(chain->entry_count < CONFIG_CHAIN_MAX);
    chain->entries[chain->entry_count++] =
        (struct config_value){.name = span_text(name), .value = value, .source = source};
}

/* What was set while the cluster ran, for this broker or for all. */
static void config_chain_add_dynamic(const struct config_view *view, const char *name, struct config_chain *chain)
{
    char id[16];
    (void)snprintf(id, sizeof(id), "%d", view->options->node_id);
    const struct image_config *own = image_find_config(view->image, IMAGE_CONFIG_BROKER, span_text(id));
    const struct image_config *common = image_find_config(view->image, IMAGE_CONFIG_BROKER, span_text(""));
    struct span own_value = own == NULL ? SPAN_NULL : image_config_value(own, name);
    struct span common_value = common == NULL ? SPAN_NULL : image_config_value(common, name);
    if (!span_is_null(own_value)) {
        config_chain_add(chain, name, own_value, CONFIG_SOURCE_BROKER);
    }
    if (!span_is_null(common_value)) {
        config_chain_add(chain, name, common_value, CONFIG_SOURCE_DEFAULT_BROKER);
    }
}

static bool config_chain_add_static(const struct config_view *view, const struct option_row *row,
                                    struct config_chain *chain)
{
    if (!option_is_default(row, view->options)) {
        struct bytebuf text;
        bool is_null = false;
        bytebuf_init(&text, CONFIG_TEXT_BYTES_MAX);
        enum err err = option_format(row, view->options, &text, &is_null);
        struct span copy = err != ERR_OK ? SPAN_NULL : arena_copy(view->arena, span_make(text.data, text.bytes));
        bytebuf_done(&text);
        if (span_is_null(copy)) {
            return false;
        }
        config_chain_add(chain, row->name, is_null ? SPAN_NULL : copy, CONFIG_SOURCE_STATIC);
    }
    config_chain_add(chain, row->name, span_text(row->default_text), CONFIG_SOURCE_DEFAULT);
    return true;
}

bool config_view_broker(const struct config_view *view, const struct option_row *row, struct config_chain *ret_chain)
{
    ret_chain->entry_count = 0;
    config_chain_add_dynamic(view, row->name, ret_chain);
    return config_chain_add_static(view, row, ret_chain);
}

bool config_view_topic(const struct config_view *view, struct span topic_name, const struct topic_config_row *row,
                       struct config_chain *ret_chain)
{
    ret_chain->entry_count = 0;
    struct span value = image_topic_config_value(view->image, topic_name, row->row.name);
    if (!span_is_null(value)) {
        config_chain_add(ret_chain, row->row.name, value, CONFIG_SOURCE_TOPIC);
    }
    const char *synonym = row->synonym[0] == '\0' ? NULL : row->synonym;
    const struct option_row *option = synonym == NULL ? NULL : option_find(broker_options_table(), span_text(synonym));
    if (option == NULL) {
        config_chain_add(ret_chain, synonym == NULL ? row->row.name : synonym, span_text(row->row.default_text),
                         CONFIG_SOURCE_DEFAULT);
        return true;
    }
    config_chain_add_dynamic(view, synonym, ret_chain);
    return config_chain_add_static(view, option, ret_chain);
}
