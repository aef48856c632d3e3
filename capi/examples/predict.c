/*
 * Classifies images: predict MODEL IMAGES [THREADS]
 *
 * IMAGES has the numbers of one or more images one behind the other, 32-bit floats, each image [height, width, channels]
 * row by row: (pixel / 255 - mean) / std. Prints, for each image, the class with the largest logit, and all logits.
 */
#include "lopper.h"

#include <stdio.h>
#include <stdlib.h>

/* Reads the numbers of a file; *count is their number. Returns NULL, with a message, if that fails. */
static float *read_numbers(const char *path, size_t *count) {
    float *numbers = NULL;
    long bytes = -1;
    FILE *file = fopen(path, "rb");
    if (file != NULL && fseek(file, 0, SEEK_END) == 0) {
        bytes = ftell(file);
        rewind(file);
    }
    if (bytes > 0) {
        *count = (size_t)bytes / sizeof(float);
        numbers = malloc(*count * sizeof(float));
    }
    if (numbers == NULL || fread(numbers, sizeof(float), *count, file) != *count) {
        fprintf(stderr, "predict: cannot read %s\n", path);
        free(numbers);
        numbers = NULL;
    }
    if (file != NULL) {
        fclose(file);
    }
    return numbers;
}

/* Prints the largest of the logits of an image with its class, and all of them, such that every bit can be read back. */
static lopper_status print(const lopper_model *model, const lopper_info *info, size_t image, const float *logits) {
    const char *name = "";
    size_t best = 0;
    for (size_t i = 1; i < info->outputs; i++) {
        if (logits[i] > logits[best]) {
            best = i;
        }
    }
    if (info->classes > 0) {
        lopper_status status = lopper_model_class_name(model, best, &name);
        if (status != LOPPER_OK) {
            return status;
        }
    }
    printf("%zu: class %zu %s\n", image, best, name);
    for (size_t i = 0; i < info->outputs; i++) {
        printf("%.9g%c", (double)logits[i], i + 1 < info->outputs ? ' ' : '\n');
    }
    return LOPPER_OK;
}

/* Runs the network on all images at once. */
static lopper_status predict(const lopper_model *model, const float *images, size_t count, size_t threads) {
    lopper_info info;
    lopper_status status = lopper_model_info(model, &info);
    if (status != LOPPER_OK) {
        return status;
    }
    size_t numbers = info.height * info.width * info.channels;
    size_t batch = count / numbers;
    lopper_plan *plan = NULL;
    status = lopper_plan_new(model, batch, threads, &plan);
    float *logits = malloc((batch * info.outputs + 1) * sizeof(float));
    if (status == LOPPER_OK && logits != NULL) {
        status = lopper_plan_run(plan, images, count, logits, batch * info.outputs);
    }
    for (size_t i = 0; i < batch && status == LOPPER_OK && logits != NULL; i++) {
        status = print(model, &info, i, logits + i * info.outputs);
    }
    free(logits);
    lopper_plan_free(plan);
    return status;
}

int main(int argc, char **argv) {
    if (argc < 3 || argc > 4) {
        fprintf(stderr, "usage: predict MODEL IMAGES [THREADS]\n");
        return 2;
    }
    size_t threads = argc == 4 ? (size_t)strtoul(argv[3], NULL, 10) : 0;
    size_t count = 0;
    float *images = read_numbers(argv[2], &count);
    if (images == NULL) {
        return 1;
    }
    lopper_model *model = NULL;
    lopper_status status = lopper_model_load(argv[1], &model);
    if (status == LOPPER_OK) {
        status = predict(model, images, count, threads);
    }
    if (status != LOPPER_OK) {
        fprintf(stderr, "predict: %s\n", lopper_last_error());
    }
    lopper_model_free(model);
    free(images);
    return status == LOPPER_OK ? 0 : 1;
}
