/*
 * Calls every function of lopper in the ways that the header allows and forbids: misuse MODEL
 *
 * The buffers of runs end, or start, at pages that must not be touched.
 */
#define _GNU_SOURCE
#include "lopper.h"

#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static int failures = 0;

static void expect(int holds, const char *what, int line) {
    if (!holds) {
        fprintf(stderr, "misuse.c:%d: %s; last error: %s\n", line, what, lopper_last_error());
        failures++;
    }
}

#define EXPECT(condition) expect((condition), #condition, __LINE__)

/* Expects a status and a word of the message. */
#define REFUSED(call, expected, word) \
    EXPECT((call) == (expected)); \
    EXPECT(strstr(lopper_last_error(), word) != NULL)

/* Room for `count` numbers between two pages that fault, at the end or at the start. */
static float *guarded(size_t count, int at_end) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t bytes = count * sizeof(float);
    size_t room = (bytes + page - 1) / page * page;
    char *pages = mmap(NULL, room + 2 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (pages == MAP_FAILED || mprotect(pages + page, room, PROT_READ | PROT_WRITE) != 0) {
        perror("mmap");
        exit(3);
    }
    return (float *)(pages + page + (at_end ? room - bytes : 0));
}

static void fill(float *numbers, size_t count) {
    for (size_t i = 0; i < count; i++) {
        numbers[i] = (float)(i * 37 % 19) / 10.0f - 0.9f;
    }
}

static void refuse_models(const char *path) {
    lopper_model *model = (lopper_model *)(uintptr_t)1;
    REFUSED(lopper_model_load(NULL, &model), LOPPER_ERROR_POINTER, "path is NULL");
    EXPECT(model == NULL);
    REFUSED(lopper_model_load(path, NULL), LOPPER_ERROR_POINTER, "model is NULL");
    model = (lopper_model *)(uintptr_t)1;
    REFUSED(lopper_model_load("no/such/file", &model), LOPPER_ERROR_FILE, "no/such/file");
    EXPECT(model == NULL);
    REFUSED(lopper_model_load("/", &model), LOPPER_ERROR_FILE, "/");
    REFUSED(lopper_model_load("", &model), LOPPER_ERROR_FILE, "");
    REFUSED(lopper_model_load("bad\xff\xfename", &model), LOPPER_ERROR_FILE, "bad");
    lopper_model_free(NULL);
    lopper_plan_free(NULL);
}

static void describe(const lopper_model *model) {
    lopper_info info;
    const char *name = "unset";
    EXPECT(lopper_model_info(model, &info) == LOPPER_OK);
    EXPECT(info.height > 0 && info.width > 0 && info.channels > 0 && info.outputs > 0 && info.parameters > 0);
    EXPECT(info.classes == 0 || info.classes == info.outputs);
    EXPECT(info.arch != NULL && strlen(info.arch) > 0);
    REFUSED(lopper_model_info(NULL, &info), LOPPER_ERROR_POINTER, "model is NULL");
    REFUSED(lopper_model_info(model, NULL), LOPPER_ERROR_POINTER, "info is NULL");
    for (size_t i = 0; i < info.classes; i++) {
        EXPECT(lopper_model_class_name(model, i, &name) == LOPPER_OK && name != NULL && strlen(name) > 0);
    }
    REFUSED(lopper_model_class_name(model, info.classes, &name), LOPPER_ERROR_ARGUMENT, "class");
    EXPECT(name == NULL);
    REFUSED(lopper_model_class_name(model, SIZE_MAX, &name), LOPPER_ERROR_ARGUMENT, "class");
    REFUSED(lopper_model_class_name(NULL, 0, &name), LOPPER_ERROR_POINTER, "model is NULL");
    REFUSED(lopper_model_class_name(model, 0, NULL), LOPPER_ERROR_POINTER, "name is NULL");
}

static void refuse_plans(const lopper_model *model) {
    lopper_plan *plan = (lopper_plan *)(uintptr_t)1;
    REFUSED(lopper_plan_new(NULL, 1, 1, &plan), LOPPER_ERROR_POINTER, "model is NULL");
    EXPECT(plan == NULL);
    REFUSED(lopper_plan_new(model, 1, 1, NULL), LOPPER_ERROR_POINTER, "plan is NULL");
    REFUSED(lopper_plan_new(model, 0, 1, &plan), LOPPER_ERROR_ARGUMENT, "batch");
    REFUSED(lopper_plan_new(model, 65537, 1, &plan), LOPPER_ERROR_ARGUMENT, "batch");
    REFUSED(lopper_plan_new(model, SIZE_MAX, 1, &plan), LOPPER_ERROR_ARGUMENT, "batch");
    REFUSED(lopper_plan_new(model, 1, 257, &plan), LOPPER_ERROR_ARGUMENT, "threads");
    REFUSED(lopper_plan_new(model, 1, SIZE_MAX, &plan), LOPPER_ERROR_ARGUMENT, "threads");
    EXPECT(plan == NULL);
}

static void refuse_runs(lopper_plan *plan, size_t images_len, size_t logits_len) {
    float *images = guarded(images_len, 1), *logits = guarded(logits_len, 1);
    size_t number = 0;
    fill(images, images_len);
    logits[0] = 77.0f;
    REFUSED(lopper_plan_run(NULL, images, images_len, logits, logits_len), LOPPER_ERROR_POINTER, "plan is NULL");
    REFUSED(lopper_plan_run(plan, NULL, images_len, logits, logits_len), LOPPER_ERROR_POINTER, "images is NULL");
    REFUSED(lopper_plan_run(plan, images, images_len, NULL, logits_len), LOPPER_ERROR_POINTER, "logits is NULL");
    REFUSED(lopper_plan_run(plan, images, images_len - 1, logits, logits_len), LOPPER_ERROR_ARGUMENT, "images");
    REFUSED(lopper_plan_run(plan, images, SIZE_MAX, logits, logits_len), LOPPER_ERROR_ARGUMENT, "images");
    REFUSED(lopper_plan_run(plan, images, 0, logits, logits_len), LOPPER_ERROR_ARGUMENT, "images");
    REFUSED(lopper_plan_run(plan, images, images_len, logits, logits_len + 1), LOPPER_ERROR_ARGUMENT, "logits");
    REFUSED(lopper_plan_run(plan, images, images_len, logits, 0), LOPPER_ERROR_ARGUMENT, "logits");
    const float *crooked = (const float *)(const void *)((const char *)images + 1);
    REFUSED(lopper_plan_run(plan, crooked, images_len, logits, logits_len), LOPPER_ERROR_POINTER, "not aligned");
    EXPECT(logits[0] == 77.0f);
    REFUSED(lopper_plan_lengths(NULL, &number, &number), LOPPER_ERROR_POINTER, "plan is NULL");
    REFUSED(lopper_plan_lengths(plan, NULL, &number), LOPPER_ERROR_POINTER, "images is NULL");
    REFUSED(lopper_plan_lengths(plan, &number, NULL), LOPPER_ERROR_POINTER, "logits is NULL");
}

/* What a thread runs, and what it must get. */
struct work {
    const lopper_model *model;
    lopper_plan *plan;
    size_t images_len, logits_len;
    const float *expected;
    int wrong;
};

static void *run_often(void *argument) {
    struct work *work = argument;
    float *images = guarded(work->images_len, 1), *logits = guarded(work->logits_len, 0);
    fill(images, work->images_len);
    work->wrong += strcmp(lopper_last_error(), "") != 0;
    for (int i = 0; i < 20; i++) {
        memset(logits, 0, work->logits_len * sizeof(float));
        work->wrong += lopper_plan_run(work->plan, images, work->images_len, logits, work->logits_len) != LOPPER_OK;
        work->wrong += memcmp(logits, work->expected, work->logits_len * sizeof(float)) != 0;
    }
    work->wrong += lopper_plan_run(work->plan, NULL, work->images_len, logits, work->logits_len) == LOPPER_OK;
    work->wrong += strstr(lopper_last_error(), "images is NULL") == NULL;
    return NULL;
}

/* Threads that share a plan, and threads with a plan each, get the same bits. */
static void run_in_threads(const lopper_model *model, lopper_plan *plan, size_t images_len, size_t logits_len) {
    float *images = guarded(images_len, 1), *logits = guarded(logits_len, 1);
    fill(images, images_len);
    EXPECT(lopper_plan_run(plan, images, images_len, logits, logits_len) == LOPPER_OK);
    struct work works[4];
    pthread_t threads[4];
    for (int i = 0; i < 4; i++) {
        works[i] = (struct work){model, plan, images_len, logits_len, logits, 0};
        if (i >= 2) {
            EXPECT(lopper_plan_new(model, 2, (size_t)i, &works[i].plan) == LOPPER_OK);
        }
        EXPECT(pthread_create(&threads[i], NULL, run_often, &works[i]) == 0);
    }
    for (int i = 0; i < 4; i++) {
        EXPECT(pthread_join(threads[i], NULL) == 0);
        EXPECT(works[i].wrong == 0);
        if (i >= 2) {
            lopper_plan_free(works[i].plan);
        }
    }
}

int main(int argc, char **argv) {
    if (argc != 2) {
        return 2;
    }
    EXPECT(strcmp(lopper_last_error(), "") == 0);
    EXPECT(strchr(lopper_version(), '.') != NULL);
    refuse_models(argv[1]);
    lopper_model *model = NULL;
    EXPECT(lopper_model_load(argv[1], &model) == LOPPER_OK && model != NULL);
    if (model == NULL) {
        return 1;
    }
    describe(model);
    refuse_plans(model);
    lopper_plan *plan = NULL;
    size_t images_len = 0, logits_len = 0;
    EXPECT(lopper_plan_new(model, 2, 2, &plan) == LOPPER_OK);
    EXPECT(lopper_plan_lengths(plan, &images_len, &logits_len) == LOPPER_OK && images_len > 0 && logits_len > 0);
    refuse_runs(plan, images_len, logits_len);
    run_in_threads(model, plan, images_len, logits_len);
    /* A plan outlives its model. */
    lopper_model_free(model);
    float *images = guarded(images_len, 0), *logits = guarded(logits_len, 1);
    fill(images, images_len);
    EXPECT(lopper_plan_run(plan, images, images_len, logits, logits_len) == LOPPER_OK);
    lopper_plan_free(plan);
    return failures == 0 ? 0 : 1;
}
